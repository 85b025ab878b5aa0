// That verification compares indexes and relations with the records, both ways.

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/team_store.h"
#include "tests/testing/sound_store.h"

#include "millrace/storage/index_entry.h"
#include "millrace/storage/key_ledger.h"

namespace millrace {
namespace {

using storage::TreeId;
using storage::WriteTransaction;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class WrongDerivedRowsTest : public ::testing::Test, protected testing::TeamStore {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(Build()); }
};

TEST_F(WrongDerivedRowsTest, WhatTheEngineMaintainsIsSound) {
  testing::ExpectSound(kept());
}

TEST_F(WrongDerivedRowsTest, EntryThatIsMissingIsNamed) {
  EXPECT_EQ(DamageOf([&](WriteTransaction& write) {
              Delete(write, TreeId::kIndex, Entry(city_, int64_t{5}, "p5"));
            }),
            "index 'city' of collection 1, generation 1: record 'p5' has the value 5 and no entry, "
            "so lookups do not find it; rebuild the index\n");
  EXPECT_THAT(
      DamageOf([&](WriteTransaction& write) {
        Delete(write, TreeId::kIndex, Entry(badge_, std::string("b6"), "p6", "t1"));
      }),
      HasSubstr(
          R"(index 'badge@team' of collection 1, generation 1: record 'p6' has the value "b6")"
          " under owner 't1' and no entry"));
}

TEST_F(WrongDerivedRowsTest, EntryThatNoRecordHasIsNamed) {
  // Of a record that is not there, of one with another value, and under another owner.
  const std::string damage = DamageOf([&](WriteTransaction& write) {
    Put(write, TreeId::kIndex, Entry(city_, int64_t{3}, "p3"), "");
    Put(write, TreeId::kIndex, Entry(city_, int64_t{1}, "p8"), "");
    Put(write, TreeId::kIndex, Entry(badge_, std::string("b6"), "p6", "t2"), "");
  });
  EXPECT_THAT(
      damage,
      AllOf(HasSubstr("there is an entry for record 'p3' with the value 3, which the record has "
                      "not; rebuild the index"),
            HasSubstr("there is an entry for record 'p8' with the value 1"),
            HasSubstr(R"(record 'p6' with the value "b6" under owner 't2')"),
            Not(HasSubstr("p5"))));
}

// A build may have been told to leave it out, and nothing is lost.
TEST_F(WrongDerivedRowsTest, RecordThatSharesAUniqueValueNeedsNoEntry) {
  EXPECT_EQ(DamageOf([&](WriteTransaction& write) {
              PutRecord(
                  write, TreeId::kRecords, RecordKey(people_.id, "p40"),
                  {.version = 7,
                   .payload = testing::Json(R"({"name":"n4","city":5,"badge":"b40"})").bytes()});
              Delete(write, TreeId::kIndex, Entry(name_, std::string("n40"), "p40"));
            }),
            "");
  EXPECT_THAT(DamageOf([&](WriteTransaction& write) {
                Delete(write, TreeId::kIndex, Entry(name_, std::string("n5"), "p5"));
                Put(write, TreeId::kIndex, Entry(name_, std::string("n5"), "p6"), "");
              }),
              AllOf(HasSubstr("record 'p5' has the value \"n5\" and no entry"),
                    HasSubstr("there is an entry for record 'p6'")));
}

TEST_F(WrongDerivedRowsTest, StagedLinksHaveNoEntryInAScopedIndex) {
  EXPECT_THAT(DamageOf([&](WriteTransaction& write) {
                Put(write, TreeId::kIndex, Entry(badge_, std::string("b7"), "p7", "t0"), "");
              }),
              HasSubstr("record 'p7'"));
}

TEST_F(WrongDerivedRowsTest, GenerationsThatAreNotLiveAreNotCompared) {
  EXPECT_EQ(DamageOf([&](WriteTransaction& write) {
              std::string entry;
              storage::IndexKey key;
              storage::SetIndexKey(storage::IndexValue(int64_t{1}), &key);
              storage::AppendIndexEntry(
                  {.index = city_.id, .generation = 2, .value = key.entry(), .id = "x"}, &entry);
              Put(write, TreeId::kIndex, entry, "");
            }),
            "");
}

// The record tells the tale itself; what it would have held nobody knows.
TEST_F(WrongDerivedRowsTest, DamagedRecordIsNoFaultOfItsEntries) {
  const std::string damage = DamageOf([&](WriteTransaction& write) {
    std::string row = RowOf(write, TreeId::kRecords, RecordKey(people_.id, "p5"));
    row.back() = static_cast<char>(row.back() ^ 1);
    Put(write, TreeId::kRecords, RecordKey(people_.id, "p5"), row);
  });
  EXPECT_THAT(damage, AllOf(HasSubstr("'p5'"), HasSubstr("checksum mismatch"),
                            Not(HasSubstr("entry for record"))));
}

TEST_F(WrongDerivedRowsTest, LinkHasTwoRowsThatSayTheSame) {
  EXPECT_THAT(DamageOf([&](WriteTransaction& write) {
                Delete(write, TreeId::kRelations, MemberRow("t2", "p2"));
              }),
              HasSubstr("relation 'team': the link of 't2' with 'p2', version 8, has no row of the "
                        "member that says the same; link them again"));
  EXPECT_THAT(DamageOf([&](WriteTransaction& write) {
                Delete(write, TreeId::kRelations, OwnerRow("t1", "p6", 6));
              }),
              HasSubstr("the link of 't1' with 'p6', version 7, has no row of the owner"));
  EXPECT_THAT(DamageOf([&](WriteTransaction& write) {
                PutRecord(write, TreeId::kRelations, MemberRow("t1", "p6"),
                          {.version = 6, .payload = storage::EncodeLinkData({.score = 7})});
              }),
              AllOf(HasSubstr("no row of the owner"), HasSubstr("no row of the member")));
}

TEST_F(WrongDerivedRowsTest, LinkNeedsBothItsRecords) {
  EXPECT_THAT(
      DamageOf([&](WriteTransaction& write) {
        Delete(write, TreeId::kRecords, RecordKey(teams_.id, "t2"));
      }),
      HasSubstr("relation 'team': 't2' is linked with 'p2', but there is no record of the owner"));
  EXPECT_THAT(DamageOf([&](WriteTransaction& write) {
                Delete(write, TreeId::kRecords, RecordKey(people_.id, "p2"));
              }),
              HasSubstr("'t2' is linked with 'p2', but there is no record of the member"));
}

TEST(KeyLedgerTest, OnlyWhatOneSideHasIsNamed) {
  storage::KeyLedger ledger;
  const auto pass = [&ledger] {
    for (int i = 0; i < 100'000; ++i) ledger.Expect(std::to_string(i));
    for (int i = 100'000; i > 0; --i) ledger.Found(std::to_string(i));
  };
  pass();
  EXPECT_FALSE(ledger.balanced());
  ledger.BeginNaming();
  pass();
  std::string named;
  ledger.ForEachDifference([&named](std::string_view key, bool missing) {
    absl::StrAppend(&named, missing ? "-" : "+", std::string(key), " ");
  });
  EXPECT_EQ(named, "-0 +100000 ");
}

}  // namespace
}  // namespace millrace
