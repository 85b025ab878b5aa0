// What can be asked of indexes and relations besides a value: many values, a page anywhere, a
// sample, and where one record stands.

#include <algorithm>
#include <map>
#include <random>
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

#include "millrace/actors/engine.h"

namespace millrace::testing {
namespace {

using storage::FoundPage;
using storage::IndexDefinition;
using storage::IndexedValue;
using storage::IndexKind;
using storage::IndexQuery;
using storage::IndexValue;
using storage::LinkRef;
using storage::MemberOrder;
using storage::Record;
using storage::RecordRef;
using storage::Relation;
using storage::Snapshot;
using storage::WriteBatch;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LookupTest : public IndexTest {
 protected:
  // "value=id" of each record, where the value is its place among those asked for.
  static Ids FoundMany(const Snapshot& snapshot, const IndexDefinition& index,
                       const std::vector<IndexValue>& values, const std::string& owner = "") {
    Ids found;
    const absl::StatusOr<FoundPage> page = snapshot.FindMany(
        index, values,
        [&found](size_t value, const RecordRef& record) {
          found.push_back(absl::StrCat(value, "=", std::string(record.id)));
          return true;
        },
        owner);
    EXPECT_TRUE(page.ok()) << page.status();
    EXPECT_TRUE(!page.ok() || page->count == found.size());
    return found;
  }
  std::set<std::string> Sampled(const Snapshot& snapshot, const IndexDefinition& index,
                                const IndexQuery& query, uint64_t count) {
    const absl::StatusOr<std::vector<Record>> records =
        snapshot.Sample(index, query, count, [this] { return random_(); });
    EXPECT_TRUE(records.ok()) << records.status();
    std::set<std::string> ids;
    if (records.ok()) {
      for (const Record& record : *records) EXPECT_TRUE(ids.insert(record.id).second) << record.id;
    }
    return ids;
  }
  // A unique index over records of which two have one value: it cannot be built, so lookups scan.
  IndexDefinition CreateUnbuildable(const std::string& field) {
    const absl::StatusOr<IndexDefined> defined =
        engine_->CreateIndex(people_, {.field = field, .kind = IndexKind::kUnique, .name = "scan"});
    EXPECT_TRUE(defined.ok()) << defined.status();
    EXPECT_EQ(engine_->WaitForBuild(defined->build, absl::Minutes(1)).status().code(),
              absl::StatusCode::kAlreadyExists);
    return defined->definition;
  }
  // p00, p01, ... each with {"n": number % modulus}.
  void PutPeople(int count, int modulus) {
    WriteBatch batch;
    for (int i = 0; i < count; ++i) {
      batch.Put(people_, absl::StrCat("p", i / 10, i % 10), Number(i % modulus));
    }
    MustCommit(*engine_, std::move(batch));
  }

  std::mt19937_64 random_{20261127};
};

// X1: nulls are filtered, what nobody has is passed over, and the order is that of the values.
TEST_F(LookupTest, ManyValuesAreFoundInOneCall) {
  Open();
  const IndexDefinition multi = Create({.field = "n"});
  PutPeople(7, 3);
  const std::vector<IndexValue> values = {int64_t{2}, storage::Null(), int64_t{9},      Text("  "),
                                          1.0,        Text("1"),       std::string(""), int64_t{2}};
  for (const bool flushed : {false, true}) {
    if (flushed) MustFlush(*engine_);
    EXPECT_THAT(FoundMany(Take(), multi, values),
                ElementsAre("0=p02", "0=p05", "4=p01", "4=p04", "7=p02", "7=p05"));
  }
  EXPECT_THAT(FoundMany(Take(), multi, {}), IsEmpty());
  const IndexDefinition scanned = CreateUnbuildable("n");
  EXPECT_THAT(FoundMany(Take(), scanned, values),
              ElementsAre("0=p02", "0=p05", "4=p01", "4=p04", "7=p02", "7=p05"));
  size_t visits = 0;
  for (const IndexDefinition& index : {multi, scanned}) {
    const auto page = Take().FindMany(
        index, values, [&visits](size_t, const RecordRef&) { return ++visits % 3 != 0; });
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_EQ(page->count, 3u) << "until the visitor has enough";
  }
}

// X3: the same value in two scopes.
TEST_F(LookupTest, ManyValuesAreFoundWithinAnOwner) {
  Open();
  const Relation staff = Define("staff");
  const IndexDefinition scoped =
      Create({.field = "n", .kind = IndexKind::kUnique, .scope = "staff"});
  PutPeople(4, 2);
  MustCommit(*engine_, WriteBatch()
                           .Put(teams_, "t", Json("{}"))
                           .Put(teams_, "u", Json("{}"))
                           .Link(staff, "t", "p00")
                           .Link(staff, "t", "p01")
                           .Link(staff, "u", "p02"));
  EXPECT_THAT(FoundMany(Take(), scoped, {int64_t{1}, int64_t{0}}, "t"),
              ElementsAre("0=p01", "1=p00"));
  EXPECT_THAT(FoundMany(Take(), scoped, {int64_t{1}, int64_t{0}}, "u"), ElementsAre("1=p02"));
  EXPECT_EQ(Take().FindUnique(scoped, int64_t{0}, "u")->id, "p02");
  const auto refused =
      Take().FindMany(scoped, {int64_t{1}}, [](size_t, const RecordRef&) { return true; });
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("names no owner"));
}

// X2: a bucket, paged by limit and offset, or by a cursor.
TEST_F(LookupTest, PagesBeginAnywhere) {
  Open();
  const IndexDefinition multi = Create({.field = "n"});
  const Relation staff = Define("staff", MemberOrder::kInsertion);
  PutPeople(20, 2);
  WriteBatch links;
  links.Put(teams_, "t", Json("{}"));
  for (int i = 19; i >= 0; --i) links.Link(staff, "t", absl::StrCat("p", i / 10, i % 10));
  MustCommit(*engine_, std::move(links));
  const IndexDefinition scanned = CreateUnbuildable("n");
  PutPeople(8, 2);  // Some of them once more: entries and candidates.
  const Ids all = Found(Take(), multi, {.equal = int64_t{1}});
  ASSERT_EQ(all.size(), 10u);
  const Ids members = Members(Take(), staff, "t");
  ASSERT_EQ(members.size(), 20u);
  EXPECT_EQ(members.front(), "p19");
  for (const size_t limit : {1, 3, 10, 30}) {
    for (const size_t offset : {0, 1, 7, 10, 25}) {
      const auto page_of = [&](const Ids& ids) {
        const size_t begin = std::min(offset, ids.size());
        const size_t end = std::min(begin + limit, ids.size());
        return Ids(ids.begin() + static_cast<ptrdiff_t>(begin),
                   ids.begin() + static_cast<ptrdiff_t>(end));
      };
      const IndexQuery query{.equal = int64_t{1}, .limit = limit, .offset = offset};
      FoundPage page;
      EXPECT_EQ(Found(Take(), multi, query, &page), page_of(all)) << limit << " " << offset;
      EXPECT_EQ(page.next.empty(), offset + limit >= all.size()) << limit << " " << offset;
      EXPECT_EQ(Found(Take(), scanned, query, &page), page_of(all)) << limit << " " << offset;
      EXPECT_TRUE(page.scanned);
      EXPECT_EQ(Members(Take(), staff, "t", {.limit = limit, .offset = offset}), page_of(members));
    }
  }
  FoundPage page;
  Found(Take(), multi, {.equal = int64_t{1}, .limit = 2, .offset = 1}, &page);
  EXPECT_THAT(Found(Take(), multi, {.equal = int64_t{1}, .limit = 1, .after = page.next}),
              ElementsAre(all[3]));
}

// X2: every record of a bucket as often as any other, whether entries, candidates or a scan give
// it.
TEST_F(LookupTest, SamplesAreUniform) {
  Open();
  const IndexDefinition multi = Create({.field = "n"});
  PutPeople(80, 2);
  const IndexDefinition scanned = CreateUnbuildable("n");
  PutPeople(20, 2);  // Some of them once more: entries and candidates.
  const IndexQuery query{.equal = int64_t{1}};
  for (const IndexDefinition& index : {multi, scanned}) {
    std::map<std::string, int> drawn;
    const Snapshot snapshot = Take();
    for (int round = 0; round < 1000; ++round) {
      const std::set<std::string> ids = Sampled(snapshot, index, query, 8);
      ASSERT_EQ(ids.size(), 8u);
      for (const std::string& id : ids) ++drawn[id];
    }
    EXPECT_EQ(drawn.size(), 40u);
    // 200 each, give or take five standard deviations of 12.6.
    for (const auto& [id, count] : drawn) EXPECT_NEAR(count, 200, 63) << id;
    EXPECT_EQ(Sampled(snapshot, index, query, 1000).size(), 40u) << "as many as there are";
    EXPECT_THAT(Sampled(snapshot, index, query, 0), IsEmpty());
    EXPECT_THAT(Sampled(snapshot, index, {.equal = int64_t{7}}, 3), IsEmpty());
    EXPECT_EQ(Sampled(snapshot, index, {}, 1000).size(), 80u) << "of all values";
  }
}

// Entries whose records have another value now take nobody's place.
TEST_F(LookupTest, SamplesHoldNoStaleEntries) {
  Open();
  const IndexDefinition multi = Create({.field = "n"});
  PutPeople(90, 1);
  MustFlush(*engine_);
  WriteBatch changes;
  for (int i = 0; i < 85; ++i) {
    const std::string id = absl::StrCat("p", i / 10, i % 10);
    if (i % 2 == 0) {
      changes.Delete(people_, id);
    } else {
      changes.Put(people_, id, Number(5));
    }
  }
  MustCommit(*engine_, std::move(changes));
  for (int round = 0; round < 20; ++round) {
    EXPECT_THAT(Sampled(Take(), multi, {.equal = int64_t{0}}, 5),
                ElementsAre("p85", "p86", "p87", "p88", "p89"));
    EXPECT_EQ(Sampled(Take(), multi, {.equal = int64_t{0}}, 3).size(), 3u);
    EXPECT_EQ(Sampled(Take(), multi, {.equal = int64_t{5}}, 50).size(), 42u);
  }
}

// X9: the indexes with their coordinates, and where one record stands in them and in relations.
TEST_F(LookupTest, RecordTellsWhereItStands) {
  Open();
  const Relation staff = Define("staff");
  const Relation guests = Define("guests", MemberOrder::kScore);
  Create({.field = "n"});
  Create({.field = "name", .kind = IndexKind::kUnique});
  Create({.field = "n", .scope = "staff"});
  const std::string name = std::string(200, 'x');
  MustCommit(*engine_,
             WriteBatch()
                 .Put(teams_, "t", Json("{}"))
                 .Put(teams_, "u", Json("{}"))
                 .Put(people_, "a", Json(absl::StrCat(R"({"n": 3, "name": ")", name, "\"}")))
                 .Put(people_, "b", Json(R"({"n": null, "name": " "})"))
                 .Link(staff, "t", "a")
                 .Link(staff, "u", "a")
                 .Link(guests, "u", "a", 2)
                 .Stage(guests, "t", "a"));
  MustCommit(*engine_, WriteBatch()
                           .Merge(people_, "b", Json(R"({"twice": 1})"))
                           .Put(people_, "c", Json(R"({"twice": 1})")));
  CreateUnbuildable("twice");
  const auto where = [&](const std::string& id) {
    Ids lines;
    const absl::StatusOr<std::vector<IndexedValue>> values = Take().IndexedIn(people_, id);
    EXPECT_TRUE(values.ok()) << values.status();
    for (const IndexedValue& value : *values) {
      lines.push_back(absl::StrCat(value.index.name, " ",
                                   storage::ToString(value.value).substr(0, 5), " ", value.owner,
                                   value.has_entry ? "" : "scanned"));
    }
    EXPECT_TRUE(Take()
                    .Memberships(people_, id,
                                 [&lines](const Relation& relation, const LinkRef& link) {
                                   lines.push_back(absl::StrCat(relation.name, " of ",
                                                                std::string(link.owner), " ",
                                                                link.data.score));
                                   return true;
                                 })
                    .ok());
    return lines;
  };
  for (const bool flushed : {false, true}) {
    if (flushed) MustFlush(*engine_);
    EXPECT_THAT(where("a"), ElementsAre("n 3 ", "n@staff 3 t", "n@staff 3 u", "name \"xxxx ",
                                        "guests of u 2", "staff of t 0", "staff of u 0"));
    EXPECT_THAT(where("b"), ElementsAre("scan 1 scanned"));
  }
  EXPECT_EQ(Take().IndexedIn(people_, "nobody").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Take().IndexedIn(people_, "").status().code(), absl::StatusCode::kInvalidArgument);
  Ids coordinates;
  const absl::StatusOr<std::vector<storage::IndexInfo>> indexes = Take().ListIndexes();
  ASSERT_TRUE(indexes.ok()) << indexes.status();
  for (const storage::IndexInfo& info : *indexes) {
    const IndexDefinition& index = info.definition;
    coordinates.push_back(absl::StrCat(index.collection == people_.id ? "people" : "?", " ",
                                       index.name, " ", std::string(storage::ToString(index.kind)),
                                       " ", index.field, index.scope == staff.id ? " staff" : ""));
  }
  EXPECT_THAT(coordinates, ElementsAre("people n multi n", "people n@staff multi n staff",
                                       "people name unique name", "people scan unique twice"));
}

// X6, X7: a delete by the id alone clears the entries of all scopes, and who gets the id next is
// nobody's member.
TEST_F(LookupTest, DeletedRecordLeavesNothingInAnyScope) {
  Open();
  const Relation staff = Define("staff");
  const IndexDefinition scoped = Create({.field = "n", .scope = "staff"});
  const IndexDefinition plain = Create({.field = "n"});
  MustCommit(*engine_, WriteBatch()
                           .Put(teams_, "t", Json("{}"))
                           .Put(teams_, "u", Json("{}"))
                           .Put(people_, "a", Number(1))
                           .Link(staff, "t", "a")
                           .Link(staff, "u", "a"));
  MustFlush(*engine_);
  MustCommit(*engine_, WriteBatch().Put(people_, "a", Number(2)));
  MustFlush(*engine_);
  MustCommit(*engine_, WriteBatch().Delete(people_, "a"));
  MustCommit(*engine_, WriteBatch().Put(people_, "a", Number(2)));
  for (const bool flushed : {false, true}) {
    if (flushed) MustFlush(*engine_);
    for (const char* owner : {"t", "u"}) {
      EXPECT_THAT(Found(Take(), scoped, {.owner = owner}), IsEmpty());
      EXPECT_THAT(Members(Take(), staff, owner), IsEmpty());
    }
    EXPECT_THAT(Owners(Take(), staff, "a"), IsEmpty());
    EXPECT_THAT(Found(Take(), plain, {}), ElementsAre("a"));
  }
  ASSERT_TRUE(engine_->Shutdown().Balanced());
  EXPECT_EQ(IndexFault(directory_.path(), scoped), "");
  EXPECT_EQ(IndexFault(directory_.path(), plain), "");
}

// X5: an index follows the record. That a record once had a value is a fact of its own: a link to
// the value's record, made in the same batch, which no later change takes away.
TEST_F(LookupTest, FormerValuesAreKeptByARelation) {
  Open();
  const Relation had = Define("had");
  const IndexDefinition index = Create({.field = "n"});
  for (const int value : {1, 2, 3}) {
    const std::string owner = absl::StrCat(value);
    MustCommit(*engine_, WriteBatch()
                             .Put(teams_, owner, Json("{}"))
                             .Put(people_, "a", Number(value))
                             .Link(had, owner, "a"));
    MustFlush(*engine_);
  }
  EXPECT_THAT(Found(Take(), index, {.equal = int64_t{1}}), IsEmpty());
  EXPECT_THAT(Members(Take(), had, "1"), ElementsAre("a"));
  EXPECT_THAT(Owners(Take(), had, "a"), ElementsAre("1", "2", "3"));
}

// X18: prepared, activated and taken back with whatever else the batch does, or not at all.
TEST_F(LookupTest, StagedMembershipsChangeWithTheirBatch) {
  Open();
  const Relation staff = Define("staff", MemberOrder::kScore, 1);
  const IndexDefinition scoped = Create({.field = "n", .scope = "staff"});
  MustCommit(*engine_, WriteBatch()
                           .Put(teams_, "t", Json("{}"))
                           .Put(people_, "a", Number(1))
                           .Put(people_, "b", Number(2))
                           .Stage(staff, "t", "a", 3)
                           .Stage(staff, "t", "b", 4));
  const auto see = [&] {
    Ids all = Members(Take(), staff, "t", {.staged = true});
    all.emplace_back("|");
    for (const std::string& id : Members(Take(), staff, "t")) all.push_back(id);
    all.emplace_back("|");
    for (const std::string& id : Found(Take(), scoped, {.owner = "t"})) all.push_back(id);
    return all;
  };
  EXPECT_THAT(see(), ElementsAre("a", "b", "|", "|"));
  MustFlush(*engine_);
  EXPECT_THAT(see(), ElementsAre("a", "b", "|", "|"));
  // The cap refuses two members: then neither is activated, nor the record changed.
  EXPECT_EQ(
      Try(WriteBatch().Put(people_, "a", Number(9)).Link(staff, "t", "a").Link(staff, "t", "b"))
          .code(),
      absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(see(), ElementsAre("a", "b", "|", "|"));
  EXPECT_EQ(NumberOf(*engine_, people_, "a"), 1);
  // One is activated, and the other taken back.
  MustCommit(
      *engine_,
      WriteBatch().Put(people_, "a", Number(9)).Link(staff, "t", "a", 3).Unlink(staff, "t", "b"));
  for (const bool reopened : {false, true}) {
    if (reopened) Open();
    EXPECT_THAT(see(), ElementsAre("|", "a", "|", "a"));
    EXPECT_EQ(NumberOf(*engine_, people_, "a"), 9);
  }
  // A staged link is none for who is deleted meanwhile: it cannot be activated for the next one.
  MustCommit(*engine_, WriteBatch().Unlink(staff, "t", "a").Stage(staff, "t", "b"));
  MustCommit(*engine_, WriteBatch().Delete(people_, "b"));
  EXPECT_THAT(see(), ElementsAre("|", "|"));
  EXPECT_EQ(Try(WriteBatch().Link(staff, "t", "b")).code(), absl::StatusCode::kFailedPrecondition);
}

// Values too long for an entry are told apart by their records, on every way of asking.
TEST_F(LookupTest, LongValuesAreFoundWhole) {
  Open();
  const IndexDefinition name = Create({.field = "name"});
  const std::string begin(300, 'x');
  for (const char* end : {"1", "2", ""}) {
    Put(absl::StrCat("p", end), absl::StrCat(R"({"name": ")", begin, end, "\"}"));
  }
  for (const bool flushed : {false, true}) {
    if (flushed) MustFlush(*engine_);
    EXPECT_THAT(Found(Take(), name, {.equal = begin + "2"}), ElementsAre("p2"));
    EXPECT_THAT(Found(Take(), name, {.equal = begin}), ElementsAre("p"));
    EXPECT_THAT(Found(Take(), name, {.prefix = begin + "1"}), ElementsAre("p1"));
    EXPECT_THAT(Found(Take(), name, {.from = begin + "1", .to = begin + "2"}), ElementsAre("p1"));
    EXPECT_THAT(FoundMany(Take(), name, {begin + "2", begin + "3", begin + "1"}),
                ElementsAre("0=p2", "2=p1"));
    EXPECT_THAT(Sampled(Take(), name, {.equal = begin + "2"}, 5), ElementsAre("p2"));
  }
}

}  // namespace
}  // namespace millrace::testing
