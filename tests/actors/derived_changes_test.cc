// What flushes make of indexes and relations, against what records and links say.

#include "millrace/actors/derived_changes.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/actors/indexed_store.h"

#include "millrace/storage/record.h"

namespace millrace {
namespace {

using storage::IndexKind;
using storage::MemberOrder;
using storage::Relation;
using storage::TreeId;
using storage::WriteBatch;
using testing::IndexedStore;
using testing::Json;
using testing::kPeople;
using testing::kTeams;

std::set<std::string> Keys(storage::Environment& environment, TreeId tree) {
  const absl::StatusOr<storage::ReadTransaction> transaction = environment.BeginRead();
  std::set<std::string> keys;
  storage::Cursor rows = transaction->NewCursor(tree);
  for (rows.Seek(""); rows.Valid(); rows.Next()) keys.emplace(rows.key());
  EXPECT_TRUE(rows.status().ok()) << rows.status();
  return keys;
}

struct ModelLink {
  double score = 0;
  bool staged = false;
};

// Records by collection and id, and links, as a client would keep them.
struct Model {
  std::map<std::pair<storage::CollectionId, std::string>, std::string> records;
  std::map<std::tuple<storage::RelationId, std::string, std::string>, ModelLink> links;

  void Delete(storage::CollectionId collection, const std::string& id,
              const storage::Marks::Relations& relations) {
    if (records.erase({collection, id}) == 0) return;
    std::erase_if(links, [&](const auto& link) {
      const auto& [relation_id, owner, member] = link.first;
      const Relation& relation = relations.at(relation_id);
      return (relation.owners == collection && owner == id) ||
             (relation.members == collection && member == id);
    });
  }

  // The entries of one generation of an index.
  std::set<std::string> Entries(const storage::IndexDefinition& index,
                                storage::Generation generation) const {
    std::set<std::string> entries;
    const storage::IndexField field(index.field);
    for (const auto& [key, json] : records) {
      storage::IndexKey value;
      if (key.first != index.collection || !field.Extract(Json(json).bytes(), &value)) continue;
      std::vector<std::string> owners;
      if (!index.scoped()) owners.emplace_back();
      for (const auto& [link, data] : links) {
        const auto& [relation, owner, member] = link;
        if (relation == index.scope && member == key.second && !data.staged) {
          owners.push_back(owner);
        }
      }
      for (const std::string& owner : owners) {
        std::string entry;
        storage::AppendIndexEntry({.index = index.id,
                                   .generation = generation,
                                   .owner = owner,
                                   .value = value.entry(),
                                   .id = key.second},
                                  &entry);
        entries.insert(entry);
      }
    }
    return entries;
  }

  bool UniqueValuesAreUnique(const storage::IndexDefinition& index) const {
    std::set<std::pair<std::string, std::string>> seen;
    for (const std::string& key : Entries(index, 1)) {
      const absl::StatusOr<storage::IndexEntry> entry = storage::DecodeIndexEntry(key);
      if (!seen.emplace(entry->owner, entry->value).second) return false;
    }
    return true;
  }
};

// Random batches, flushes of any slicing, several at a time, kills between any two slices.
class DerivedChangesTest : public ::testing::Test {
 protected:
  DerivedChangesTest()
      : staff_(store_.AddRelation("staff", kTeams, MemberOrder::kScore)),
        friends_(store_.AddRelation("friends", kPeople, MemberOrder::kInsertion)) {
    store_.AddIndex("mail", IndexKind::kUnique);
    store_.AddIndex("name", IndexKind::kMulti);
    store_.AddIndex("badge", IndexKind::kUnique, staff_.id);
    store_.AddIndex("name", IndexKind::kMulti, staff_.id);
    store_.AddIndex("mail", IndexKind::kMulti, friends_.id);
  }

  size_t Random(size_t below) { return random_() % below; }
  std::string RandomPerson() { return absl::StrCat("p", Random(8)); }
  std::string RandomTeam() { return absl::StrCat("t", Random(3)); }
  std::string RandomRecord() {
    static const char* const kNames[] = {"null", "\"\"", "\"a\"", "\"b\"", "7"};
    return absl::StrCat(R"({"badge": )", Random(5), R"(, "mail": )", kNames[Random(5)],
                        R"(, "name": )", kNames[Random(5)], "}");
  }

  // One random batch, on the store and on the model; refused by both or by none.
  void Step() {
    WriteBatch batch;
    Model after = model_;
    bool ends_exist = true;
    std::vector<std::tuple<const Relation*, std::string, std::string, int, double>> links;
    std::set<std::string> touched;
    for (size_t i = 1 + Random(4); i > 0; --i) {
      const storage::Collection& collection = Random(4) == 0 ? kTeams : kPeople;
      const std::string id = collection.id == kTeams.id ? RandomTeam() : RandomPerson();
      switch (Random(5)) {
        case 0:
        case 1: {
          if (!touched.insert(id).second) break;
          const std::string json = RandomRecord();
          batch.Put(collection, id, Json(json));
          after.records[{collection.id, id}] = json;
          break;
        }
        case 2:
          if (Random(2) == 0 || !touched.insert(id).second) break;
          batch.Delete(collection, id);
          after.Delete(collection.id, id, store_.relations());
          break;
        default: {
          const Relation& relation = Random(2) == 0 ? staff_ : friends_;
          const std::string owner = relation.id == staff_.id ? RandomTeam() : RandomPerson();
          const std::string member = RandomPerson();
          if (!touched.insert(absl::StrCat(relation.id, owner, member)).second) break;
          const int kind = static_cast<int>(Random(4));
          const auto score = static_cast<double>(Random(3));
          links.emplace_back(&relation, owner, member, kind, score);
          if (kind == 0) {
            batch.Unlink(relation, owner, member);
          } else if (kind == 1) {
            batch.Stage(relation, owner, member, score);
          } else {
            batch.Link(relation, owner, member, score);
          }
        }
      }
    }
    for (const auto& [relation, owner, member, kind, score] : links) {
      const auto key = std::tuple(relation->id, owner, member);
      if (kind == 0) {
        after.links.erase(key);
        continue;
      }
      ends_exist = ends_exist && after.records.contains({relation->owners, owner}) &&
                   after.records.contains({relation->members, member});
      ModelLink& link = after.links.try_emplace(key, ModelLink{.staged = true}).first->second;
      link = {.score = score, .staged = kind == 1 && link.staged};
    }
    if (batch.empty()) return;
    bool unique = true;
    for (const auto& [id, index] : store_.indexes()) {
      if (index.definition.unique())
        unique = unique && after.UniqueValuesAreUnique(index.definition);
    }
    const absl::Status status = store_.Accept(batch).status();
    if (!ends_exist) {
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    } else if (!unique) {
      EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
    } else {
      EXPECT_TRUE(status.ok()) << status;
      model_ = std::move(after);
    }
  }

  // Works out the flush that was rotated last, against those before it that are not in LMDB.
  void Stream(FlushJob job) {
    for (const Flight& flight : flights_)
      job.earlier.insert(job.earlier.begin(), flight.job.sealed);
    if (!flights_.empty()) job.sequence = flights_.back().job.sequence + 1;
    std::vector<Slice> slices = store_.pipeline().Slices(job, 1 + Random(6));
    flights_.push_back({.job = std::move(job), .slices = std::move(slices)});
  }
  // Applies up to `count` slices of the oldest flush.
  void Apply(size_t count) {
    if (flights_.empty()) return;
    Flight& flight = flights_.front();
    for (; count > 0 && flight.next < flight.slices.size(); --count) {
      const absl::Status status = store_.pipeline().Apply(
          testing::PipelineStore::Message(flight.job, flight.slices[flight.next++]));
      ASSERT_TRUE(status.ok()) << status;
      ASSERT_TRUE(store_.pipeline().transaction().Commit().ok());
    }
    if (flight.next < flight.slices.size()) return;
    store_.Drop();
    flights_.pop_front();
  }
  void Kill() {
    flights_.clear();
    std::optional<FlushJob> resumed = store_.Reopen();
    if (resumed.has_value()) Stream(*std::move(resumed));
  }
  void Finish() {
    while (!flights_.empty()) Apply(1000);
    Stream(store_.Rotate());
    Apply(1000);
  }

  void CheckTrees() {
    std::set<std::string> entries;
    for (const auto& [id, index] : store_.indexes()) {
      entries.merge(model_.Entries(index.definition, index.generations.live));
    }
    EXPECT_EQ(Keys(store_.pipeline().environment(), TreeId::kIndex), entries);
    // Of links the ends are compared, for positions are the store's.
    std::set<std::tuple<storage::RelationId, std::string, std::string>> of_owner;
    std::set<std::tuple<storage::RelationId, std::string, std::string>> of_member;
    for (const std::string& key : Keys(store_.pipeline().environment(), TreeId::kRelations)) {
      const std::string row_key = absl::StrCat("\3", key);
      storage::RelationId id = 0;
      bool owner_side = false;
      ASSERT_TRUE(storage::PeekLinkRow(row_key, &id, &owner_side));
      const storage::LinkRow row =
          *storage::DecodeLinkRowKey(row_key, store_.relations().at(id).order);
      const bool is_new =
          (owner_side ? of_owner : of_member).emplace(id, row.ends.owner, row.ends.member).second;
      EXPECT_TRUE(is_new) << "two rows for one link";
    }
    EXPECT_EQ(of_owner, of_member) << "both directions are always in step";
    std::set<std::tuple<storage::RelationId, std::string, std::string>> links;
    for (const auto& [key, link] : model_.links) links.insert(key);
    EXPECT_EQ(of_owner, links);
  }

  struct Flight {
    FlushJob job;
    std::vector<Slice> slices;
    size_t next = 0;
  };

  IndexedStore store_;
  const Relation staff_;
  const Relation friends_;
  Model model_;
  std::deque<Flight> flights_;
  std::mt19937_64 random_{20260728};
};

TEST_F(DerivedChangesTest, TreesAreWhatRecordsAndLinksSayAfterAnyFlushes) {
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    for (size_t i = Random(12); i > 0; --i) Step();
    switch (Random(4)) {
      case 0:
        if (flights_.size() < 3) Stream(store_.Rotate());
        break;
      case 1:
        Apply(Random(5));
        break;
      case 2:
        if (Random(3) == 0) Kill();
        break;
      default:
        Finish();
        CheckTrees();
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(model_.links.size() + model_.records.size(), 3u);
}

// In one flush an end of a link goes, comes again, and is linked again.
TEST_F(DerivedChangesTest, AnEndThatIsMadeAnewHasItsEntriesAgain) {
  const std::string badge = R"({"badge": 1, "mail": "m"})";
  ASSERT_TRUE(store_
                  .Accept(WriteBatch()
                              .Put(kTeams, "t", Json("{}"))
                              .Put(kPeople, "p", Json(badge))
                              .Link(staff_, "t", "p"))
                  .ok());
  model_.records = {{{kTeams.id, "t"}, "{}"}, {{kPeople.id, "p"}, badge}};
  model_.links[{staff_.id, "t", "p"}] = {};
  store_.FlushAll();
  CheckTrees();
  for (const auto& [collection, id] : {std::pair(kTeams, "t"), std::pair(kPeople, "p")}) {
    for (const size_t slice_rows : {1, 100}) {
      for (const size_t killed_after : {0, 1, 2, 3}) {
        SCOPED_TRACE(absl::StrCat(id, " ", slice_rows, " ", killed_after));
        ASSERT_TRUE(store_.Accept(WriteBatch().Delete(collection, id)).ok());
        ASSERT_TRUE(
            store_
                .Accept(WriteBatch()
                            .Put(collection, id, Json(collection.id == kPeople.id ? badge : "{}"))
                            .Link(staff_, "t", "p", 7))
                .ok());
        store_.pipeline().Flush(store_.Rotate(), slice_rows, killed_after);
        std::optional<FlushJob> resumed = store_.Reopen();
        if (resumed.has_value()) {
          store_.pipeline().Flush(*resumed, slice_rows);
          store_.Drop();
        }
        Finish();
        CheckTrees();
      }
    }
  }
}

// Every entry of what a flush brings, changed or not; what was there before is the build's.
TEST_F(DerivedChangesTest, ABuildingGenerationGetsEveryEntryThatIsBrought) {
  ASSERT_TRUE(store_
                  .Accept(WriteBatch()
                              .Put(kPeople, "old", Json(R"({"name": "o"})"))
                              .Put(kPeople, "same", Json(R"({"name": "s"})"))
                              .Put(kPeople, "moved", Json(R"({"name": "m"})"))
                              .Put(kPeople, "gone", Json(R"({"name": "g"})")))
                  .ok());
  store_.FlushAll();
  storage::MarkedIndex& index = store_.indexes().at(2);
  index.generations.building = 2;
  store_.SetMarks();
  ASSERT_TRUE(store_
                  .Accept(WriteBatch()
                              .Put(kPeople, "same", Json(R"({"name": "s", "age": 1})"))
                              .Put(kPeople, "moved", Json(R"({"name": "n"})"))
                              .Delete(kPeople, "gone"))
                  .ok());
  const FlushJob job = store_.Rotate();
  const std::vector<Slice> slices = store_.pipeline().Slices(job, 100);
  ASSERT_EQ(slices.size(), 1u);
  std::string text;
  for (const DerivedChange& change : slices[0].derived) {
    const storage::IndexEntry entry = *storage::DecodeIndexEntry(DerivedKey(slices[0], change));
    if (entry.index != index.definition.id) continue;
    absl::StrAppend(&text, change.kind == DerivedChange::Kind::kPutEntry ? "+" : "-",
                    entry.generation, std::string(entry.id), " ");
  }
  EXPECT_EQ(text, "-1gone -1moved +1moved -2gone -2moved +2moved +2same ");
}

TEST_F(DerivedChangesTest, EntriesOfAGenerationThatWasGivenUpAreSkipped) {
  storage::MarkedIndex& index = store_.indexes().at(2);
  index.generations.building = 2;
  store_.SetMarks();
  ASSERT_TRUE(store_.Accept(WriteBatch().Put(kPeople, "a", Json(R"({"name": "n"})"))).ok());
  {
    const absl::StatusOr<storage::WriteTransaction*> write =
        store_.pipeline().transaction().Begin();
    ASSERT_TRUE(write.ok());
    for (auto kind :
         {storage::GenerationChange::Kind::kAllocate, storage::GenerationChange::Kind::kAbandon}) {
      ASSERT_TRUE(storage::ChangeGenerations(
                      **write, {.kind = kind, .definition = index.definition, .generation = 2})
                      .ok());
    }
    ASSERT_TRUE(store_.pipeline().transaction().Commit().ok());
  }
  store_.FlushAll();
  model_.records[{kPeople.id, "a"}] = R"({"name": "n"})";
  EXPECT_EQ(Keys(store_.pipeline().environment(), TreeId::kIndex),
            model_.Entries(index.definition, 1));
}

// A record with many links is deleted in slices like any other work.
TEST_F(DerivedChangesTest, TheLinksOfOneRecordMayFillManySlices) {
  WriteBatch batch;
  batch.Put(kTeams, "t", Json("{}"));
  for (int i = 0; i < 50; ++i) {
    const std::string id = absl::StrCat("p", i);
    batch.Put(kPeople, id, Json(absl::StrCat(R"({"badge": )", i, "}")));
    batch.Link(staff_, "t", id, i);
  }
  ASSERT_TRUE(store_.Accept(batch).ok());
  store_.FlushAll();
  EXPECT_EQ(Keys(store_.pipeline().environment(), TreeId::kRelations).size(), 100u);
  EXPECT_EQ(Keys(store_.pipeline().environment(), TreeId::kIndex).size(), 50u);
  ASSERT_TRUE(store_.Accept(WriteBatch().Delete(kTeams, "t")).ok());
  std::vector<Slice> slices = store_.pipeline().Slices(store_.Rotate(), 10);
  EXPECT_GT(slices.size(), 10u);
  for (const Slice& slice : slices) EXPECT_LE(slice.rows.size() + slice.derived.size(), 13u);
}

TEST_F(DerivedChangesTest, ADamagedOlderRowIsReplacedAndLeavesOnlyCandidates) {
  ASSERT_TRUE(store_.Accept(WriteBatch().Put(kPeople, "a", Json(R"({"name": "x"})"))).ok());
  store_.FlushAll();
  {
    const absl::StatusOr<storage::WriteTransaction*> write =
        store_.pipeline().transaction().Begin();
    const std::string key = testing::PersonKey("a").substr(1);
    std::string row(**(*write)->Get(TreeId::kRecords, key));
    row.back() = static_cast<char>(row.back() ^ 1);
    ASSERT_TRUE((*write)->Put(TreeId::kRecords, key, row).ok());
    ASSERT_TRUE(store_.pipeline().transaction().Commit().ok());
  }
  ASSERT_TRUE(store_.Accept(WriteBatch().Put(kPeople, "a", Json(R"({"name": "y"})"))).ok());
  store_.FlushAll();
  EXPECT_EQ(store_.pipeline().TakeSnapshot().Get(kPeople, "a")->document.ToJson(),
            R"({"name":"y"})");
  EXPECT_EQ(Keys(store_.pipeline().environment(), TreeId::kIndex).size(), 2u);
}

}  // namespace
}  // namespace millrace
