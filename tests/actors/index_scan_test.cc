// IndexScan and IndexMerge: from the rows of L1 to entries in order.
#include "millrace/actors/index_scan.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/storage/test_store.h"
#include "tests/testing/power_loss_file_system.h"

#include "millrace/actors/index_merge.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/meta.h"
#include "millrace/storage/record.h"

namespace millrace {
namespace {

using storage::BuildCounts;
using storage::BuildSource;
using storage::RunEntry;
using storage::TreeId;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr storage::CollectionId kPeople = 2;
constexpr storage::CollectionId kTeams = 3;
constexpr storage::CollectionId kOthers = 1;

class IndexScanTest : public ::testing::Test {
 protected:
  IndexScanTest() { EXPECT_TRUE(runs_.Prepare().ok()); }

  static std::string InTree(std::string key) { return key.substr(1); }
  static std::string RecordRow(const std::string& key, storage::Version version,
                               std::string_view payload) {
    std::string row(storage::EncodedRecordSize(payload.size()), '\0');
    storage::EncodeRecord(key, {.version = version, .payload = payload}, row.data());
    return row;
  }
  void PutRow(TreeId tree, const std::string& key, std::string_view row) {
    storage::WriteTransaction transaction = store_.BeginWrite();
    ASSERT_TRUE(transaction.Put(tree, key, row).ok());
    ASSERT_TRUE(transaction.Commit().ok());
  }
  void PutRecord(storage::CollectionId collection, std::string_view id, std::string_view json) {
    const std::string key = InTree(storage::EncodeRowKey({.collection = collection, .id = id}));
    const storage::Document document = *storage::Document::FromJson(json);
    PutRow(TreeId::kRecords, key, RecordRow(key, ++version_, document.bytes()));
    ++counts_[{storage::kTrunk, collection}];
  }
  void PutPerson(std::string_view id, std::string_view name) {
    PutRecord(kPeople, id, absl::StrCat("{\"name\":\"", std::string(name), "\"}"));
  }
  void Link(std::string_view owner, std::string_view member, bool staged = false) {
    const storage::LinkEnds ends{.relation = scope_.id, .owner = owner, .member = member};
    const storage::LinkData data{.score = 1.5, .staged = staged};
    for (const std::string& row_key :
         {storage::MemberRowKey(ends), storage::OwnerRowKey(ends, scope_.order, data)}) {
      const std::string key = InTree(row_key);
      PutRow(TreeId::kRelations, key, RecordRow(key, ++version_, storage::EncodeLinkData(data)));
    }
  }
  // What the head manifest says.
  void PutCounts() {
    storage::Manifest manifest{.id = 1, .counts = counts_};
    PutRow(TreeId::kManifests, storage::ManifestKey(1), storage::EncodeManifest(manifest));
    PutRow(TreeId::kMeta, std::string(storage::kHeadKey),
           storage::EncodeNumber(storage::kHeadKey, 1));
  }

  IndexPlan Plan(BuildSource source, bool scoped) const {
    IndexPlan plan{.definition = {.id = 5, .collection = kPeople, .name = "name", .field = "name"},
                   .generation = 4,
                   .source = source};
    if (!scoped) return plan;
    plan.definition.scope = scope_.id;
    plan.scope = scope_;
    return plan;
  }

  struct Built {
    absl::Status status;
    BuildCounts counts;
    std::vector<std::string> entries;  // "owner/value/id@version", in order.
  };
  // Reads all in batches of `row_max`, in runs of `run_bytes`, and merges.
  Built Build(const IndexPlan& plan, size_t row_max = 1'000, size_t run_bytes = 1 << 20) {
    Built built;
    storage::RunSorter sorter(run_bytes);
    storage::ResumePoint resume;
    IndexScan scan(store_.environment(), plan, "", {});
    while (built.status.ok() && !scan.done()) {
      built.status = scan.Read(row_max, &sorter);
      if (!built.status.ok() || !(sorter.full() || scan.done()) || sorter.empty()) continue;
      resume.runs.push_back(
          *sorter.WriteRun(runs_, {.task = 1, .number = resume.next_run++}, false));
    }
    built.counts = scan.counts();
    if (!built.status.ok()) return built;
    absl::StatusOr<IndexMerge> merge = IndexMerge::Open(runs_, 1, resume);
    EXPECT_TRUE(merge.ok()) << merge.status();
    while (!merge->done()) {
      const absl::StatusOr<storage::EntryBatch> batch = merge->Read(row_max, size_t{1} << 20);
      EXPECT_TRUE(batch.ok()) << batch.status();
      for (size_t i = 0; i < batch->size(); ++i) built.entries.push_back(Show((*batch)[i]));
    }
    EXPECT_EQ(merge->entry_count(), built.counts.indexed);
    return built;
  }
  static std::string Show(const RunEntry& entry) {
    const storage::IndexEntry parts = *storage::DecodeIndexEntry(entry.key);
    EXPECT_EQ(parts.index, 5u);
    EXPECT_EQ(parts.generation, 4u);
    std::string_view rest = parts.value;
    storage::IndexValue value;
    bool cut = false;
    EXPECT_TRUE(storage::ConsumeIndexValue(&rest, &value, &cut));
    return absl::StrCat(std::string(parts.owner), "/", storage::ToString(value), "/",
                        std::string(parts.id), "@", entry.version);
  }

  storage::TestStore store_;
  testing::PowerLossFileSystem files_;
  storage::RunDirectory runs_{files_, "/runs"};
  storage::Relation scope_{.id = 6,
                           .name = "staff",
                           .owners = kTeams,
                           .members = kPeople,
                           .order = storage::MemberOrder::kScore};
  storage::Version version_ = 0;
  storage::CountMap counts_;
};

TEST_F(IndexScanTest, IndexesWhatIsThereAndCountsTheRest) {
  PutRecord(kOthers, "x", R"({"name":"no person"})");
  PutPerson("a", "Ada");
  PutPerson("b", "Zoe");
  PutPerson("c", "");
  PutPerson("d", R"( \t)");
  PutRecord(kPeople, "e", R"({"name":null})");
  PutRecord(kPeople, "f", R"({"other":"Eve"})");
  PutRecord(kPeople, "g", R"({"name":7})");
  PutRecord(kTeams, "a", R"({"name":"no person"})");
  PutCounts();
  const Built built = Build(Plan(BuildSource::kInstances, false));
  ASSERT_TRUE(built.status.ok()) << built.status;
  EXPECT_THAT(built.entries, ElementsAre("/7/g@8", "/\"Ada\"/a@2", "/\"Zoe\"/b@3"));
  EXPECT_EQ(built.counts, (BuildCounts{.scanned = 7, .live = 7, .indexed = 3, .skipped_blank = 4}));
  const Built scanned = Build(Plan(BuildSource::kScan, false));
  EXPECT_EQ(scanned.entries, built.entries);
  EXPECT_EQ(scanned.counts,
            (BuildCounts{.scanned = 9, .live = 7, .indexed = 3, .skipped_blank = 4}));
}

TEST_F(IndexScanTest, BatchesAndRunsOfAnySizeGiveTheSame) {
  for (int i = 0; i < 300; ++i) PutPerson(absl::StrCat("p", i), absl::StrCat("name", i * 7 % 50));
  PutCounts();
  const Built built = Build(Plan(BuildSource::kInstances, false));
  ASSERT_EQ(built.entries.size(), 300u);
  for (const size_t row_max : {1, 7, 100, 300}) {
    for (const size_t run_bytes : {1, 1'000, 5'000}) {
      const Built other = Build(Plan(BuildSource::kInstances, false), row_max, run_bytes);
      EXPECT_EQ(other.entries, built.entries) << row_max << " " << run_bytes;
      EXPECT_EQ(other.counts, built.counts);
    }
  }
}

TEST_F(IndexScanTest, ScopedIndexIsTheSameFromAllThreeSources) {
  for (const char* team : {"red", "blue", "empty"}) PutRecord(kTeams, team, "{}");
  PutPerson("ada", "Ada");
  PutPerson("zoe", "Zoe");
  PutPerson("eve", "");
  PutPerson("max", "Max");
  Link("red", "ada");
  Link("blue", "ada");
  Link("blue", "zoe");
  Link("red", "eve");
  Link("blue", "max", /*staged=*/true);
  Link("red", "gone");
  PutCounts();
  const std::vector<std::string> want = {"red/\"Ada\"/ada@4", "blue/\"Ada\"/ada@4",
                                         "blue/\"Zoe\"/zoe@5"};
  const Built instances = Build(Plan(BuildSource::kInstances, true));
  ASSERT_TRUE(instances.status.ok()) << instances.status;
  EXPECT_EQ(instances.entries, want);
  EXPECT_EQ(instances.counts,
            (BuildCounts{.scanned = 4, .live = 4, .indexed = 3, .skipped_blank = 1}));
  const Built links = Build(Plan(BuildSource::kParticipation, true), 2, 1);
  ASSERT_TRUE(links.status.ok()) << links.status;
  EXPECT_EQ(links.entries, want);
  EXPECT_EQ(links.counts,
            (BuildCounts{.scanned = 6, .live = 4, .indexed = 3, .skipped_blank = 1, .missing = 1}));
  EXPECT_EQ(Build(Plan(BuildSource::kScan, true)).entries, want);
}

TEST_F(IndexScanTest, SourceIsCounted) {
  PutRecord(kOthers, "x", "{}");
  PutPerson("a", "Ada");
  PutPerson("b", "Bob");
  Link("t", "a");
  PutCounts();
  EXPECT_EQ(
      *IndexScan(store_.environment(), Plan(BuildSource::kInstances, false), "", {}).CountSource(),
      2u);
  EXPECT_EQ(*IndexScan(store_.environment(), Plan(BuildSource::kScan, false), "", {}).CountSource(),
            3u);
  EXPECT_EQ(*IndexScan(store_.environment(), Plan(BuildSource::kParticipation, true), "", {})
                 .CountSource(),
            1u);
}

TEST_F(IndexScanTest, EmptySourceNeedsProof) {
  const Built empty = Build(Plan(BuildSource::kInstances, false));
  EXPECT_TRUE(empty.status.ok()) << "an empty store proves it: " << empty.status;
  EXPECT_THAT(empty.entries, IsEmpty());
  counts_[{storage::kTrunk, kPeople}] = 17;  // The rows are lost.
  PutCounts();
  for (const BuildSource source : {BuildSource::kInstances, BuildSource::kScan}) {
    const absl::Status status = Build(Plan(source, false)).status;
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(status.ToString(), HasSubstr("the store counts 17 records"));
  }
  EXPECT_TRUE(Build(Plan(BuildSource::kParticipation, true)).status.ok());
  const std::string half =
      InTree(storage::MemberRowKey({.relation = 6, .owner = "t", .member = "m"}));
  PutRow(TreeId::kRelations, half, RecordRow(half, 1, storage::EncodeLinkData({})));
  EXPECT_THAT(Build(Plan(BuildSource::kParticipation, true)).status.ToString(),
              HasSubstr("the members name owners"));
}

TEST_F(IndexScanTest, DamagedRowEndsTheBuildAndIsNamed) {
  PutPerson("a", "Ada");
  const std::string key = InTree(storage::EncodeRowKey({.collection = kPeople, .id = "bad"}));
  std::string row = RecordRow(key, 9, "payload");
  row.back() ^= 1;
  PutRow(TreeId::kRecords, key, row);
  PutPerson("c", "Cid");
  const absl::Status status = Build(Plan(BuildSource::kInstances, false)).status;
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.ToString(), HasSubstr("'bad'"));
}

TEST_F(IndexScanTest, SourceThatTheIndexDoesNotHaveIsATypedError) {
  EXPECT_TRUE(CheckPlan(Plan(BuildSource::kParticipation, true)).ok());
  EXPECT_TRUE(CheckPlan(Plan(BuildSource::kScan, false)).ok());
  EXPECT_EQ(CheckPlan(Plan(BuildSource::kParticipation, false)).code(),
            absl::StatusCode::kInvalidArgument);
  IndexPlan lost = Plan(BuildSource::kInstances, true);
  lost.scope.reset();
  EXPECT_EQ(CheckPlan(lost).code(), absl::StatusCode::kNotFound);
}

// A record that changes under the scan is read once more in a later batch only if it moved; what
// was read twice comes once.
TEST_F(IndexScanTest, MergeGivesEachVersionOfAnEntryOnceAndResumesBehindAKey) {
  storage::RunSorter sorter(1 << 20);
  storage::ResumePoint resume;
  const auto write = [&](std::vector<RunEntry> entries) {
    for (const RunEntry& entry : entries) sorter.Add(entry);
    resume.runs.push_back(*sorter.WriteRun(runs_, {.task = 1, .number = resume.next_run++}, false));
  };
  write({{"a", 1}, {"b", 2}, {"d", 4}});
  write({{"a", 1}, {"b", 3}, {"c", 5}});
  absl::StatusOr<IndexMerge> merge = IndexMerge::Open(runs_, 1, resume);
  const auto read = [&](size_t row_max) {
    std::string text;
    const storage::EntryBatch batch = *merge->Read(row_max, size_t{1} << 20);
    for (size_t i = 0; i < batch.size(); ++i) {
      absl::StrAppend(&text, std::string(batch[i].key), batch[i].version, " ");
    }
    return text;
  };
  EXPECT_EQ(read(2), "a1 b2 b3 ") << "the versions of one key are not torn apart";
  EXPECT_EQ(merge->entry_count(), 4u);
  EXPECT_EQ(read(100), "c5 d4 ");
  EXPECT_TRUE(merge->done());
  resume.applied_cursor = "b";
  resume.merged_entry_count = 4;
  merge = IndexMerge::Open(runs_, 1, resume);
  EXPECT_EQ(read(1), "c5 ");
  EXPECT_EQ(read(1), "d4 ");
  EXPECT_EQ(merge->entry_count(), 6u);
}

TEST_F(IndexScanTest, ManyRunsAreReducedToOne) {
  storage::RunSorter sorter(1 << 20);
  storage::ResumePoint resume;
  std::vector<std::string> all;
  for (int run = 0; run < 9; ++run) {
    for (int i = 0; i < 100; ++i) {
      all.push_back(absl::StrCat(100 + i, run));
      sorter.Add({all.back(), 1});
    }
    resume.runs.push_back(*sorter.WriteRun(runs_, {.task = 1, .number = resume.next_run++}, false));
  }
  absl::StatusOr<RunReduction> reduction =
      RunReduction::Begin(runs_, {.task = 1, .number = resume.next_run++}, resume.runs);
  ASSERT_TRUE(reduction.ok()) << reduction.status();
  int steps = 1;
  while (!*reduction->Step(100)) ++steps;
  EXPECT_EQ(steps, 9);
  resume.runs = {*reduction->Finish()};
  EXPECT_EQ(resume.runs[0].entry_count, 900u);
  absl::StatusOr<IndexMerge> merge = IndexMerge::Open(runs_, 1, resume);
  std::sort(all.begin(), all.end());
  for (const std::string& key : all) ASSERT_EQ((*merge->Read(1, size_t{1} << 20))[0].key, key);
}

}  // namespace
}  // namespace millrace
