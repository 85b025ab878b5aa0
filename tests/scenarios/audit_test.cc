// What an audit finds in a store that was changed behind the engine's back, and what a repair makes
// of it.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/team_store.h"
#include "tests/testing/sound_store.h"

#include "millrace/storage/meta.h"

namespace millrace {
namespace {

using storage::AuditFault;
using storage::AuditPart;
using storage::AuditReport;
using storage::TreeId;
using storage::WriteTransaction;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Change = absl::FunctionRef<void(WriteTransaction&)>;

// What is wrong, and what was not checked: "people.city: 1 missing; ...".
std::string FaultsOf(const AuditReport& report) {
  std::string all;
  for (const AuditPart& part : report.parts) {
    std::string faults;
    if (!part.checked()) faults = std::string(part.not_checked.message());
    for (size_t i = 0; i < storage::kAuditFaults; ++i) {
      if (part.faults[i] == 0) continue;
      absl::StrAppend(&faults, faults.empty() ? "" : ", ", part.faults[i], " ",
                      std::string(ToString(static_cast<AuditFault>(i))));
    }
    if (faults.empty()) continue;
    absl::StrAppend(&all, all.empty() ? "" : "; ", part.name, ": ", faults);
  }
  return all;
}

class AuditTest : public ::testing::Test, protected testing::TeamStore {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(Build()); }

  AuditReport Audit(Engine& engine, const storage::AuditOptions& options = {}) {
    const absl::StatusOr<AuditReport> report = engine.Audit(options);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : AuditReport();
  }
  RepairReport Repair(Engine& engine, const AuditReport* audit = nullptr) {
    absl::StatusOr<RepairReport> report = engine.Repair({}, audit);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *std::move(report) : RepairReport();
  }
  const AuditPart& PartOf(const AuditReport& report, const std::string& name) {
    const auto part = std::find_if(report.parts.begin(), report.parts.end(),
                                   [&](const AuditPart& one) { return one.name == name; });
    EXPECT_NE(part, report.parts.end()) << name;
    return part != report.parts.end() ? *part : report.parts.front();
  }

  // The change is found as `faults`; a repair leaves `after`, a second one has nothing to do.
  void Check(Change change, const std::string& faults, const std::string& after = "") {
    const std::string store = Changed(change);
    {
      const std::unique_ptr<Engine> engine = testing::OpenEngine(store, Quiet());
      ASSERT_NE(engine, nullptr);
      const AuditReport found = Audit(*engine);
      EXPECT_EQ(FaultsOf(found), faults);
      EXPECT_FALSE(found.healthy());
      EXPECT_TRUE(found.complete());
      const RepairReport repaired = Repair(*engine, &found);
      EXPECT_TRUE(repaired.done());
      EXPECT_EQ(FaultsOf(repaired.after), after);
      const RepairReport again = Repair(*engine);
      for (const RepairStage& stage : again.stages) {
        EXPECT_EQ(stage.put + stage.removed, 0u) << stage.name;
      }
      EXPECT_EQ(again.stages.empty(), after.empty());
    }
    if (after.empty()) testing::ExpectSound(store);
  }
};

TEST_F(AuditTest, WhatTheEngineMaintainsIsHealthyAndComplete) {
  const std::unique_ptr<Engine> engine = testing::OpenEngine(kept(), Quiet());
  ASSERT_NE(engine, nullptr);
  const AuditReport report = Audit(*engine);
  EXPECT_TRUE(report.healthy()) << FaultsOf(report);
  EXPECT_TRUE(report.complete());
  std::vector<std::string> parts;
  for (const AuditPart& part : report.parts) {
    parts.push_back(
        absl::StrCat(std::string(ToString(part.dimension)), " ", part.name, " ", part.examined));
  }
  // 49 people with a name and a city. 50 links less those of p3 and of t4, and less that of p1,
  // with the staged one of p7: two rows each. Entries for those that are not staged.
  EXPECT_THAT(parts, ElementsAre("records people 49", "multi index people.city 49",
                                 "unique index people.name 49", "records teams 4",
                                 "relation team 78", "multi index people.badge@team 38"));
  EXPECT_THAT(Repair(*engine).stages, IsEmpty());
}

TEST_F(AuditTest, OnlyWhatIsAskedForIsLookedAt) {
  const std::unique_ptr<Engine> engine = testing::OpenEngine(kept(), Quiet());
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(Audit(*engine, {.collection = "people", .index = "badge@team"}).parts.size(), 1u);
  EXPECT_EQ(Audit(*engine, {.collection = "people"}).parts.size(), 5u);
  EXPECT_EQ(Audit(*engine, {.collection = "teams"}).parts.size(), 2u);
  EXPECT_TRUE(absl::IsNotFound(engine->Audit({.collection = "cats"}).status()));
  EXPECT_TRUE(absl::IsNotFound(engine->Audit({.collection = "teams", .index = "x"}).status()));
}

TEST_F(AuditTest, EntriesThatAreMissing) {
  Check(
      [&](WriteTransaction& write) {
        Delete(write, TreeId::kIndex, Entry(city_, int64_t{5}, "p5"));
        Delete(write, TreeId::kIndex, Entry(name_, std::string("n6"), "p6"));
        Delete(write, TreeId::kIndex, Entry(badge_, std::string("b6"), "p6", "t1"));
      },
      "people.city: 1 missing; people.name: 1 missing; people.badge@team: 1 missing");
}

TEST_F(AuditTest, EntriesThatNoRecordHas) {
  Check(
      [&](WriteTransaction& write) {
        Put(write, TreeId::kIndex, Entry(city_, int64_t{3}, "p3"), "");
        Put(write, TreeId::kIndex, Entry(city_, int64_t{1}, "p8"), "");
        Put(write, TreeId::kIndex, Entry(badge_, std::string("b6"), "p6", "t2"), "");
        Put(write, TreeId::kIndex, Entry(badge_, std::string("b6"), "p6", "gone"), "");
        Put(write, TreeId::kIndex, Entry(badge_, std::string("b7"), "p7", "t0"), "");  // Staged.
      },
      "people.city: 1 object missing, 1 value mismatch; people.badge@team: 3 foreign owner");
}

// A look at the values alone would not find it: the value has an entry, as it should.
TEST_F(AuditTest, ValueThatLeadsToAnotherRecord) {
  Check(
      [&](WriteTransaction& write) {
        Delete(write, TreeId::kIndex, Entry(name_, std::string("n5"), "p5"));
        Put(write, TreeId::kIndex, Entry(name_, std::string("n5"), "p6"), "");
      },
      "people.name: 1 value mismatch, 1 wrong owner");
}

TEST_F(AuditTest, KeyThatIsNoEntry) {
  Check(
      [&](WriteTransaction& write) {
        std::string key = storage::IndexGenerationPrefix(storage::kTrunk, city_.id, 1);
        key.append("\x01x\x99");
        Put(write, TreeId::kIndex, key, "");
      },
      "people.city: 1 unreadable");
}

// Which of the two is to have it is not for a repair to say.
TEST_F(AuditTest, DuplicatesOfAUniqueValueAreToldAndLeft) {
  const auto same_name = [&](WriteTransaction& write) {
    PutRecord(
        write, TreeId::kRecords, RecordKey(people_.id, "p6"),
        {.version = 7, .payload = testing::Json(R"({"name":"n5","city":6,"badge":"b6"})").bytes()});
    Delete(write, TreeId::kIndex, Entry(name_, std::string("n6"), "p6"));
  };
  Check(same_name, "people.name: 1 duplicate", "people.name: 1 duplicate");
  Check(
      [&](WriteTransaction& write) {
        same_name(write);
        Put(write, TreeId::kIndex, Entry(name_, std::string("n5"), "p6"), "");
      },
      "people.name: 1 duplicate", "people.name: 1 duplicate");
}

TEST_F(AuditTest, LinkWithOneRowGetsTheOther) {
  Check([&](WriteTransaction& write) { Delete(write, TreeId::kRelations, MemberRow("t2", "p2")); },
        "team: 1 one-sided; people.badge@team: 1 foreign owner");
  Check(
      [&](WriteTransaction& write) { Delete(write, TreeId::kRelations, OwnerRow("t1", "p6", 6)); },
      "team: 1 one-sided");
}

TEST_F(AuditTest, OfTwoRowsThatDifferTheNewerIsTheLink) {
  Check(
      [&](WriteTransaction& write) {
        PutRecord(write, TreeId::kRelations, MemberRow("t1", "p6"),
                  {.version = 6, .payload = storage::EncodeLinkData({.score = 7})});
      },
      "team: 2 one-sided");
  const std::unique_ptr<Engine> engine = testing::OpenEngine(
      Changed([&](WriteTransaction& write) {
        PutRecord(write, TreeId::kRelations, MemberRow("t1", "p6"),
                  {.version = 6, .payload = storage::EncodeLinkData({.score = 7})});
      }),
      Quiet());
  EXPECT_TRUE(Repair(*engine).after.healthy());
  double score = 0;
  ASSERT_TRUE(engine->TakeSnapshot()
                  ->Owners(relation_, "p6", {},
                           [&](const storage::LinkRef& link) {
                             score = link.data.score;
                             return true;
                           })
                  .ok());
  EXPECT_EQ(score, 6);
}

TEST_F(AuditTest, DamagedRowOfALinkIsMadeAnewFromTheOther) {
  Check(
      [&](WriteTransaction& write) {
        std::string row = RowOf(write, TreeId::kRelations, MemberRow("t1", "p6"));
        row.back() = static_cast<char>(row.back() ^ 1);
        Put(write, TreeId::kRelations, MemberRow("t1", "p6"), row);
      },
      "team: 1 unreadable");
}

// Ten people are in the team that is gone.
TEST_F(AuditTest, LinksWhoseEndIsGoneEnd) {
  const std::string store = Changed([&](WriteTransaction& write) {
    Delete(write, TreeId::kRecords, RecordKey(teams_.id, "t2"));
    Delete(write, TreeId::kRecords, RecordKey(people_.id, "p6"));
  });
  const std::unique_ptr<Engine> engine = testing::OpenEngine(store, Quiet());
  ASSERT_NE(engine, nullptr);
  const RepairReport repaired = Repair(*engine);
  EXPECT_EQ(FaultsOf(repaired.before),
            "people: 1 count; people.city: 1 object missing; people.name: 1 object missing; "
            "teams: 1 count; team: 11 end missing; people.badge@team: 1 object missing");
  EXPECT_EQ(PartOf(repaired.before, "teams").count_surplus, 1);
  EXPECT_TRUE(repaired.done());
  EXPECT_EQ(FaultsOf(repaired.after), "");
  std::vector<std::string> stages;
  for (const RepairStage& stage : repaired.stages) {
    stages.push_back(absl::StrCat(stage.name, " ", stage.put, " ", stage.removed));
  }
  EXPECT_THAT(stages, ElementsAre("team 0 22", "people 1 0", "people.city 0 1", "people.name 0 1",
                                  "teams 1 0", "people.badge@team 0 11"));
  const absl::StatusOr<storage::Snapshot> snapshot = engine->TakeSnapshot();
  EXPECT_EQ(*snapshot->Count(people_), 48u);
  EXPECT_EQ(*snapshot->Count(teams_), 3u);
}

TEST_F(AuditTest, CountsThatAreWrongAreMendedBesideFlushes) {
  const std::string store = Changed([&](WriteTransaction& write) {
    const std::string number = RowOf(write, TreeId::kMeta, storage::kHeadKey);
    const std::string key = storage::ManifestKey(*storage::DecodeNumber(storage::kHeadKey, number));
    storage::Manifest head = *storage::DecodeManifest(RowOf(write, TreeId::kManifests, key));
    head.counts[{storage::kTrunk, people_.id}] += 7;
    head.counts[{storage::kTrunk, teams_.id}] -= 2;
    Put(write, TreeId::kManifests, key, storage::EncodeManifest(head));
  });
  {
    const std::unique_ptr<Engine> engine = testing::OpenEngine(store, Quiet());
    ASSERT_NE(engine, nullptr);
    const AuditReport found = Audit(*engine);
    EXPECT_EQ(FaultsOf(found), "people: 7 count; teams: 2 count");
    EXPECT_EQ(PartOf(found, "people").count_surplus, 7);
    EXPECT_EQ(PartOf(found, "teams").count_surplus, -2);
    // More is committed and flushed behind the audit: the repair adds, it does not set.
    storage::WriteBatch batch;
    batch.Put(people_, "new", testing::Number(1)).Delete(people_, Person(9));
    batch.Put(people_, "newer", testing::Number(2));
    testing::MustCommit(*engine, std::move(batch));
    testing::MustFlush(*engine);
    EXPECT_EQ(FaultsOf(Repair(*engine, &found).after), "");
    EXPECT_EQ(FaultsOf(Repair(*engine, &found).after), "");  // An old audit does no harm.
    EXPECT_EQ(*engine->TakeSnapshot()->Count(people_), 50u);
  }
  testing::ExpectSound(store);
}

TEST_F(AuditTest, DamagedRecordIsNamedAndNothingIsSaidOfItsEntries) {
  Check(
      [&](WriteTransaction& write) {
        std::string row = RowOf(write, TreeId::kRecords, RecordKey(people_.id, "p5"));
        row.back() = static_cast<char>(row.back() ^ 1);
        Put(write, TreeId::kRecords, RecordKey(people_.id, "p5"), row);
      },
      "people: 1 unreadable", "people: 1 unreadable");
}

TEST_F(AuditTest, SamplesNameWhatIsWrongAndAreBounded) {
  const std::string store = Changed([&](WriteTransaction& write) {
    for (int i = 10; i < 40; ++i) {
      Delete(write, TreeId::kIndex, Entry(city_, int64_t{i % 7}, Person(i)));
    }
  });
  const std::unique_ptr<Engine> engine = testing::OpenEngine(store, Quiet());
  ASSERT_NE(engine, nullptr);
  const AuditReport report = Audit(*engine, {.samples_max = 3});
  const AuditPart& city = PartOf(report, "people.city");
  EXPECT_EQ(city.count(AuditFault::kMissing), 30u);
  ASSERT_EQ(city.samples.size(), 3u);
  EXPECT_EQ(city.samples.front(),
            "record 'p10', value 3: there is no entry, so lookups do not find the record");
}

// Not clean, not wrong: not checked.
TEST_F(AuditTest, WhatCannotBeCheckedIsSaidToBeSo) {
  const std::unique_ptr<Engine> engine = testing::OpenEngine(kept(), Quiet());
  ASSERT_NE(engine, nullptr);
  // One that cannot be built, and one whose definition is not flushed.
  EXPECT_FALSE(engine
                   ->WaitForBuild(engine
                                      ->CreateIndex(people_, {.field = "city",
                                                              .kind = storage::IndexKind::kUnique,
                                                              .name = "own city"})
                                      ->build)
                   .ok());
  testing::MustFlush(*engine);
  const storage::Collection cats = testing::MakeCollection(*engine, "cats");
  ASSERT_TRUE(engine->CreateIndex(cats, {.field = "name"}).ok());
  const AuditReport report = Audit(*engine);
  EXPECT_TRUE(report.healthy());
  EXPECT_FALSE(report.complete());
  EXPECT_EQ(FaultsOf(report),
            "cats.name: its definition is not flushed yet; "
            "people.own city: it was never built");
  EXPECT_THAT(Repair(*engine).stages, IsEmpty());
}

}  // namespace
}  // namespace millrace
