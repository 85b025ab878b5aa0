// X10: what other versions of the program have defined or built is told at open, harms nothing
// else, and is mended by a build.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/actors/stepped_engine.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/storage/catalog.h"
#include "millrace/storage/write_transaction.h"

namespace millrace::testing {
namespace {

using storage::IndexDefinition;
using storage::RecordRef;
using storage::Relation;
using storage::TreeId;
using storage::WriteBatch;
using ::testing::AllOf;
using ::testing::HasSubstr;

class FormatGuardTest : public ::testing::Test {
 protected:
  static constexpr int kPeople = 100;

  // A store with indexes over "n" and "u".
  void SetUp() override {
    store_.emplace(directory_.File("store"));
    store_->Fill(kPeople);
    n_ = store_->CreateComplete({.field = "n"});
    u_ = store_->CreateComplete({.field = "u"});
    teams_ = *store_->engine().CreateCollection("teams");
    const auto relation = store_->engine().DefineRelation(
        {.name = "staff", .owners = teams_, .members = store_->people()});
    ASSERT_TRUE(relation.ok()) << relation.status();
    store_->Flush();
    store_->Idle();
  }

  // The store as another version of the program leaves it; it is open again.
  void ChangeBehindItsBack(absl::FunctionRef<void(storage::WriteTransaction&)> change) {
    store_.reset();
    {
      auto environment = *storage::Environment::Open({.directory = directory_.File("store"),
                                                      .map_size_bytes = uint64_t{1} << 32,
                                                      .quota_bytes = 1 << 30});
      const storage::WritePermit permit = *environment->TakeWritePermit();
      storage::WriteTransaction transaction = *environment->BeginWrite(permit);
      change(transaction);
      ASSERT_TRUE(transaction.Commit().ok());
    }
    const absl::Status refused = OpenGuarded();
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
    guarded_ = std::string(refused.message());
    store_.emplace(directory_.File("store"));
  }
  void BuiltInFormat(const IndexDefinition& index, uint64_t format) {
    ChangeBehindItsBack([&](storage::WriteTransaction& transaction) {
      storage::GenerationState state = *storage::ReadGenerations(transaction, index);
      state.format = format;
      ASSERT_TRUE(transaction
                      .Put(TreeId::kGenerations, storage::GenerationKey(index.id),
                           storage::EncodeGenerations(state))
                      .ok());
    });
  }
  // `key`: of a catalog row that defines something; its format becomes one that is not known.
  void DefinedByANewerVersion(const std::string& row_key) {
    ChangeBehindItsBack([&](storage::WriteTransaction& transaction) {
      const std::string key(storage::KeyInTree(row_key));
      const auto row = transaction.Get(TreeId::kCatalog, key);
      ASSERT_TRUE(row.ok() && row->has_value());
      const absl::StatusOr<storage::RecordView> record = storage::DecodeRecord(key, **row);
      ASSERT_TRUE(record.ok()) << record.status();
      std::string json = storage::DocumentView(record->payload).ToJson();
      const size_t format = json.find("\"format\":1");
      ASSERT_NE(format, std::string::npos) << json;
      json.replace(format, 10, "\"format\":9");
      const storage::Document newer = *storage::Document::FromJson(json);
      std::string value(storage::EncodedRecordSize(newer.bytes().size()), '\0');
      storage::EncodeRecord(key, {.version = record->version, .payload = newer.bytes()},
                            value.data());
      ASSERT_TRUE(transaction.Put(TreeId::kCatalog, key, value).ok());
    });
  }
  absl::Status OpenGuarded() const {
    EngineOptions options = SteppedEngine::Options();
    options.format_guard = FormatGuard::kFail;
    return Engine::Open(directory_.File("store"), options).status();
  }

  // How many records have the value, and whether the collection was scanned for them.
  uint64_t CountFound(const IndexDefinition& index, const storage::IndexQuery& query,
                      bool* scanned) {
    const auto page =
        store_->engine().TakeSnapshot()->Find(index, query, [](const RecordRef&) { return true; });
    EXPECT_TRUE(page.ok()) << page.status();
    *scanned = page.ok() && page->scanned;
    return page.ok() ? page->count : 0;
  }
  absl::Status PutTeam() {
    return store_->engine()
        .Commit(WriteBatch().Put(teams_, "t", *storage::Document::FromJson("{}")))
        .Wait()
        .status();
  }
  // Everything but what was changed works as ever.
  void CheckNeighbours() {
    bool scanned = true;
    EXPECT_EQ(CountFound(u_, {.equal = std::string("u7")}, &scanned), 1u);
    EXPECT_FALSE(scanned);
    EXPECT_TRUE(store_->engine().TakeSnapshot()->Get(store_->people(), "p3").ok());
    EXPECT_TRUE(PutTeam().ok());
  }

  const TemporaryDirectory directory_ = TemporaryDirectory::InMemory();
  std::optional<SteppedEngine> store_;
  std::string guarded_;  // What a guarded open says.
  IndexDefinition n_;
  IndexDefinition u_;
  storage::Collection teams_;
};

TEST_F(FormatGuardTest, IndexOfAnOlderFormatIsScannedUntilItIsRebuilt) {
  BuiltInFormat(n_, 0);
  EXPECT_THAT(guarded_, AllOf(HasSubstr("index 'n'"), HasSubstr("format 0"), HasSubstr("rebuild")));
  CheckNeighbours();
  // It is written to all the same, and lookups miss nothing.
  ASSERT_TRUE(store_->Put(500, 500).ok());
  store_->Flush();
  bool scanned = false;
  EXPECT_EQ(CountFound(n_, {}, &scanned), uint64_t{kPeople} + 1);
  EXPECT_TRUE(scanned);
  EXPECT_EQ(store_->Status(n_).lifecycle, IndexLifecycle::kStale);
  store_->Schedule({.index = n_.id});
  store_->Idle();
  EXPECT_EQ(store_->Status(n_).lifecycle, IndexLifecycle::kOnline);
  EXPECT_EQ(CountFound(n_, {}, &scanned), uint64_t{kPeople} + 1);
  EXPECT_FALSE(scanned);
  EXPECT_EQ(store_->CloseAndFindFault(n_), "");
  EXPECT_TRUE(OpenGuarded().ok()) << "mended";
}

TEST_F(FormatGuardTest, IndexOfANewerFormatTakesNoWritesUntilItIsRebuilt) {
  BuiltInFormat(n_, 2);
  EXPECT_THAT(guarded_, AllOf(HasSubstr("index 'n'"), HasSubstr("format 2")));
  CheckNeighbours();
  const absl::Status refused = store_->Put(500, 500);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("index 'n'"), HasSubstr("newer version"), HasSubstr("rebuild")));
  bool scanned = false;
  EXPECT_EQ(CountFound(n_, {.equal = int64_t{7}}, &scanned), 1u);
  EXPECT_TRUE(scanned);
  // The build gives up what this version cannot keep, so a kill in the midst of it does no harm.
  store_->Schedule({.index = n_.id});
  ASSERT_TRUE(store_->StepUntil(n_, storage::BuildPhase::kScan));
  EXPECT_EQ(store_->Status(n_).generations.live, 0u);
  EXPECT_TRUE(store_->Put(500, 500).ok());
  store_->Idle();
  EXPECT_EQ(CountFound(n_, {}, &scanned), uint64_t{kPeople} + 1);
  EXPECT_FALSE(scanned);
  EXPECT_EQ(store_->CloseAndFindFault(n_), "");
}

TEST_F(FormatGuardTest, IndexThatANewerVersionDefinedIsNamedAndCanBeDropped) {
  DefinedByANewerVersion(storage::IndexDefinitionKey(n_.collection, "n"));
  EXPECT_THAT(guarded_, AllOf(HasSubstr("index 'n'"), HasSubstr("format 9")));
  CheckNeighbours();
  Engine& engine = store_->engine();
  for (const absl::Status& status :
       {store_->Put(500, 500), engine.TakeSnapshot()->FindIndex(store_->people(), "n").status(),
        engine.CreateIndex(store_->people(), {.field = "n"}).status(),
        engine.ScheduleBuild({.index = n_.id}).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("'n'"), HasSubstr("newer version")));
  }
  const auto values = engine.TakeSnapshot()->IndexedIn(store_->people(), "p3");
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(values->size(), 1u);
  store_->Idle();
  ASSERT_TRUE(engine.DropIndex(store_->people(), "n").ok());
  EXPECT_TRUE(store_->Put(500, 500).ok());
  const IndexDefinition anew = store_->CreateComplete({.field = "n"});
  EXPECT_GT(anew.id, n_.id);
  bool scanned = true;
  EXPECT_EQ(CountFound(anew, {}, &scanned), uint64_t{kPeople} + 1);
  EXPECT_FALSE(scanned);
  EXPECT_EQ(store_->CloseAndFindFault(anew), "");
  EXPECT_EQ(IndexFault(directory_.File("store"), n_), "");
}

TEST_F(FormatGuardTest, RelationThatANewerVersionDefinedIsNamed) {
  DefinedByANewerVersion(storage::RelationDefinitionKey("staff"));
  EXPECT_THAT(guarded_, AllOf(HasSubstr("relation 'staff'"), HasSubstr("format 9")));
  bool scanned = true;
  EXPECT_EQ(CountFound(u_, {.equal = std::string("u7")}, &scanned), 1u);
  EXPECT_FALSE(scanned);
  const auto relations = store_->engine().TakeSnapshot()->ListRelations();
  ASSERT_TRUE(relations.ok()) << relations.status();
  ASSERT_EQ(relations->size(), 1u);
  EXPECT_EQ(relations->front().relation.name, "staff");
  for (const absl::Status& status :
       {store_->Put(500, 500), PutTeam(), store_->engine().OpenRelation("staff").status(),
        relations->front().status}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("relation 'staff'"));
  }
  const storage::Collection other = *store_->engine().CreateCollection("other");
  EXPECT_TRUE(store_->engine()
                  .Commit(WriteBatch().Put(other, "o", *storage::Document::FromJson("{}")))
                  .Wait()
                  .ok());
}

}  // namespace
}  // namespace millrace::testing
