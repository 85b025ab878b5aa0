// Indexes that are defined several at a time, at once or behind a bulk load.

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/index_fixture.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/index_truth.h"

#include "millrace/actors/index_registration.h"

namespace millrace::testing {
namespace {

using storage::IndexDefinition;
using storage::IndexKind;
using storage::IndexOptions;
using storage::Relation;
using storage::WriteBatch;
using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(60);

class RegistrationTest : public IndexTest {
 protected:
  static std::vector<IndexOptions> Options() {
    return {{.field = "n"},
            {.field = "name", .kind = IndexKind::kUnique},
            {.field = "n", .scope = "staff"}};
  }
  void SetUp() override {
    Open();
    staff_ = Define("staff");
    MustCommit(*engine_, WriteBatch().Put(teams_, "t", Json("{}")));
  }
  // Records [begin, end), of which every tenth is a member of "t".
  void Load(int begin, int end) {
    WriteBatch batch;
    for (int i = begin; i < end; ++i) {
      const std::string id = absl::StrCat("p", i);
      batch.Put(
          people_, id,
          *storage::DocumentBuilder().Set("n", i % 10).Set("name", absl::StrCat("n", i)).Finish());
      if (i % 10 == 0) batch.Link(staff_, "t", id);
    }
    MustCommit(*engine_, std::move(batch));
  }
  // All answer from a build.
  void CheckOnline(const std::vector<IndexDefined>& indexes, uint64_t count) {
    ASSERT_EQ(indexes.size(), 3u);
    const storage::Snapshot snapshot = Take();
    const auto found = [&](size_t i, const std::string& owner) {
      EXPECT_EQ(engine_->GetIndexStatus(indexes[i].definition)->lifecycle, IndexLifecycle::kOnline);
      return *snapshot.CountFound(indexes[i].definition, {.owner = owner, .may_scan = false});
    };
    EXPECT_EQ(found(0, ""), count);
    EXPECT_EQ(found(1, ""), count);
    EXPECT_EQ(found(2, "t"), count / 10);
  }

  Relation staff_;
};

// I36: eager is complete when it returns; I40: with the counts and the time of what was indexed.
TEST_F(RegistrationTest, EagerRegistrationReturnsCompleteIndexes) {
  Load(0, 500);
  const absl::Time before = absl::Now();
  const auto defined = CreateIndexes(*engine_, people_, Options(), Registration::kEager, kPatience);
  ASSERT_TRUE(defined.ok()) << defined.status();
  CheckOnline(*defined, 500);
  const uint64_t entries[] = {500, 500, 50};
  for (size_t i = 0; i < defined->size(); ++i) {
    const storage::GenerationState state =
        engine_->GetIndexStatus((*defined)[i].definition)->generations;
    EXPECT_EQ(state.row_count, entries[i]);
    EXPECT_EQ(state.record_count, 500u);
    EXPECT_GE(state.built_at, before);
    EXPECT_LE(state.built_at, absl::Now());
  }
  // What comes later is maintained, and counted when it is built anew.
  Load(500, 600);
  CheckOnline(*defined, 600);
  const auto again = CreateIndexes(*engine_, people_, Options(), Registration::kEager, kPatience);
  ASSERT_TRUE(again.ok()) << again.status();
  for (size_t i = 0; i < again->size(); ++i) {
    EXPECT_EQ((*again)[i].definition, (*defined)[i].definition) << "I39: defined again, it is one";
    EXPECT_EQ((*again)[i].build, 0u) << "nothing to build";
    EXPECT_EQ(engine_->GetIndexStatus((*again)[i].definition)->generations.row_count, entries[i])
        << "of the build, not of now";
  }
}

// I36: async is pending and durable when it returns, and lookups scan until it is complete (I34).
TEST_F(RegistrationTest, AsyncRegistrationIsDurableAndObservable) {
  Load(0, 300);
  auto defined = CreateIndexes(*engine_, people_, Options(), Registration::kAsync);
  ASSERT_TRUE(defined.ok()) << defined.status();
  std::set<storage::TaskId> tasks;
  for (const IndexDefined& one : *defined) {
    EXPECT_TRUE(tasks.insert(one.build).second);
    ASSERT_TRUE(engine_->FindBuild(one.build).ok());
    EXPECT_EQ(*Take().CountFound(one.definition, {.owner = one.definition.scoped() ? "t" : ""}),
              one.definition.scoped() ? 30u : 300u);
  }
  Open();  // What was not built yet is.
  for (const storage::TaskId task : tasks) {
    const auto built = engine_->WaitForBuild(task, kPatience);
    EXPECT_TRUE(built.ok()) << built.status();
  }
  CheckOnline(*defined, 300);
}

// I38: a load without the indexes, that ends with all of them online, or with their tasks.
TEST_F(RegistrationTest, BulkLoadDefersIndexes) {
  ASSERT_TRUE(CreateIndexes(*engine_, people_, Options(), Registration::kEager).ok());
  int loaded = 0;
  for (const Registration registration : {Registration::kEager, Registration::kAsync}) {
    const auto deferred = DeferIndexes(*engine_, people_);
    ASSERT_TRUE(deferred.ok()) << deferred.status();
    EXPECT_EQ(deferred->size(), 3u);
    EXPECT_TRUE(Take().ListIndexes()->empty());
    Load(loaded, loaded + 1'000);
    loaded += 1'000;
    auto defined = CreateIndexes(*engine_, people_, *deferred, registration, kPatience);
    ASSERT_TRUE(defined.ok()) << defined.status();
    std::map<std::string, IndexDefined> by_name;
    for (const IndexDefined& one : *defined) {
      if (registration == Registration::kAsync) {
        ASSERT_NE(one.build, 0u);
        EXPECT_TRUE(engine_->GetIndexStatus(one.definition)->task.has_value());
        EXPECT_TRUE(engine_->WaitForBuild(one.build, kPatience).ok());
      }
      by_name[one.definition.name] = one;
    }
    CheckOnline({by_name.at("n"), by_name.at("name"), by_name.at("n@staff")},
                static_cast<uint64_t>(loaded));
    EXPECT_TRUE(by_name.at("name").definition.unique());
  }
  // X20: links are no part of what builds and definitions come and go with.
  EXPECT_EQ(Members(Take(), staff_, "t").size(), 200u);
}

// What a load has done to a unique index is found, named, and the rest is built.
TEST_F(RegistrationTest, DuplicatesOfALoadFailTheirIndexAlone) {
  Load(0, 10);
  MustCommit(*engine_, WriteBatch().Put(people_, "q", Json(R"({"n": 1, "name": "n3"})")));
  const auto defined = CreateIndexes(*engine_, people_, Options(), Registration::kEager, kPatience);
  EXPECT_EQ(defined.status().code(), absl::StatusCode::kAlreadyExists) << defined.status();
  EXPECT_THAT(std::string(defined.status().message()), HasSubstr("\"n3\" of p3 and q"));
  const IndexDefinition n = *Take().FindIndex(people_, "n");
  EXPECT_EQ(engine_->GetIndexStatus(n)->lifecycle, IndexLifecycle::kOnline);
  const IndexDefinition name = *Take().FindIndex(people_, "name");
  EXPECT_EQ(engine_->GetIndexStatus(name)->lifecycle, IndexLifecycle::kFailed);
  const auto refused =
      CreateIndexes(*engine_, people_, {{{.field = "a..b"}}}, Registration::kAsync);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace millrace::testing
