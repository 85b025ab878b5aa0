// Indexes and relations through the engine's door, against std::map.

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/index_fixture.h"
#include "tests/scenarios/test_engine.h"

#include "millrace/actors/engine.h"

namespace millrace {
namespace {

using storage::Collection;
using storage::FoundPage;
using storage::IndexDefinition;
using storage::IndexKind;
using storage::IndexQuery;
using storage::IndexValue;
using storage::LinkQuery;
using storage::LinkRef;
using storage::MemberOrder;
using storage::RecordRef;
using storage::Relation;
using storage::Snapshot;
using storage::WriteBatch;
using ::testing::ElementsAre;
using testing::Found;
using ::testing::HasSubstr;
using testing::Ids;
using testing::IndexTest;
using testing::Json;
using testing::Members;
using testing::MustCommit;
using testing::Owners;
using testing::Text;

TEST_F(IndexTest, FindsByValueRangePrefixAndBackwards) {
  Open();
  const IndexDefinition age = Create({.field = "age"});
  const IndexDefinition name = Create({.field = "name"});
  for (const auto& [id, json] :
       std::map<std::string, std::string>{{"a", R"({"age": 36, "name": "Ada"})"},
                                          {"b", R"({"age": 41.5, "name": "Alan"})"},
                                          {"c", R"({"age": "36", "name": "Grace"})"},
                                          {"d", R"({"age": 36.0, "name": " "})"},
                                          {"e", R"({"age": true, "name": null})"},
                                          {"f", R"({"age": -3})"}}) {
    Put(id, json);
  }
  for (const bool flushed : {false, true}) {
    if (flushed) testing::MustFlush(*engine_);
    const Snapshot snapshot = Take();
    EXPECT_THAT(Found(snapshot, age, {.equal = int64_t{36}}), ElementsAre("a", "d"));
    EXPECT_THAT(Found(snapshot, age, {.equal = Text("36")}), ElementsAre("c"));
    EXPECT_THAT(Found(snapshot, age, {.from = int64_t{0}}), ElementsAre("a", "d", "b"))
        << "a range is of one type";
    EXPECT_THAT(Found(snapshot, age, {.from = -10.0, .to = int64_t{36}}), ElementsAre("f"));
    EXPECT_THAT(Found(snapshot, age, {.to = int64_t{100}, .reverse = true}),
                ElementsAre("b", "d", "a", "f"));
    EXPECT_THAT(Found(snapshot, age, {}), ElementsAre("e", "f", "a", "d", "b", "c"))
        << "booleans, numbers, text";
    EXPECT_THAT(Found(snapshot, name, {.prefix = "A"}), ElementsAre("a", "b"));
    EXPECT_THAT(Found(snapshot, name, {.prefix = "", .reverse = true}), ElementsAre("c", "b", "a"));
    EXPECT_EQ(*snapshot.CountFound(age, {.equal = 36.0}), 2u);
    FoundPage page;
    EXPECT_THAT(Found(snapshot, age, {.limit = 2}, &page), ElementsAre("e", "f"));
    EXPECT_FALSE(page.scanned);
    EXPECT_THAT(Found(snapshot, age, {.limit = 4, .after = page.next}, &page),
                ElementsAre("a", "d", "b", "c"));
    EXPECT_EQ(page.next, "") << "there is no more";
  }
}

TEST_F(IndexTest, AUniqueIndexNamesTheOwner) {
  Open();
  const IndexDefinition mail = Create({.field = "contact.mail", .kind = IndexKind::kUnique});
  Put("a", R"({"contact": {"mail": "x"}})");
  const absl::Status refused =
      Try(WriteBatch().Put(people_, "b", Json(R"({"contact": {"mail": "x"}})")));
  EXPECT_EQ(refused.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(GetIndexConflict(refused)->owner, "a");
  EXPECT_EQ(GetOutcome(refused), Outcome::kNotExecuted);
  EXPECT_EQ(Take().FindUnique(mail, Text("x"))->id, "a");
  EXPECT_EQ(Take().FindUnique(mail, Text("y")).status().code(), absl::StatusCode::kNotFound);
  testing::MustFlush(*engine_);
  EXPECT_FALSE(Try(WriteBatch().Put(people_, "b", Json(R"({"contact": {"mail": "x"}})"))).ok());
  Open();
  EXPECT_FALSE(Try(WriteBatch().Put(people_, "b", Json(R"({"contact": {"mail": "x"}})"))).ok());
  MustCommit(*engine_, WriteBatch().Delete(people_, "a"));
  EXPECT_TRUE(Try(WriteBatch().Put(people_, "b", Json(R"({"contact": {"mail": "x"}})"))).ok());
}

// Many threads claim the same few values: each has one owner at any time.
TEST_F(IndexTest, ConcurrentClaimsHaveOneWinner) {
  Open(testing::SmallEngine());
  const IndexDefinition mail = Create({.field = "mail", .kind = IndexKind::kUnique});
  std::vector<std::thread> threads;
  std::array<std::atomic<int>, 20> winners{};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t value = 0; value < winners.size(); ++value) {
        const absl::Status status = Try(WriteBatch().Put(
            people_, absl::StrCat(t, "-", value), Json(absl::StrCat(R"({"mail": )", value, "}"))));
        if (status.ok()) ++winners[value];
        EXPECT_TRUE(status.ok() || absl::IsAlreadyExists(status)) << status;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t value = 0; value < winners.size(); ++value) {
    EXPECT_EQ(winners[value], 1) << value;
    EXPECT_EQ(Found(Take(), mail, {.equal = static_cast<int64_t>(value)}).size(), 1u);
  }
}

TEST_F(IndexTest, AnIndexOverRecordsIsScannedUntilItIsBuilt) {
  Open();
  Put("b", R"({"age": 2})");
  Put("a", R"({"age": 2})");
  Put("c", R"({"age": 1})");
  const absl::StatusOr<IndexDefined> age = engine_->CreateIndex(people_, {.field = "age"});
  ASSERT_TRUE(age.ok()) << age.status();
  EXPECT_FALSE(age->complete);
  FoundPage page;
  EXPECT_THAT(Found(Take(), age->definition, {}, &page), ElementsAre("c", "a", "b"));
  EXPECT_TRUE(page.scanned);
  EXPECT_THAT(Found(Take(), age->definition, {.reverse = true, .limit = 2}, &page),
              ElementsAre("b", "a"));
  EXPECT_THAT(Found(Take(), age->definition, {.reverse = true, .after = page.next}, &page),
              ElementsAre("c"));
  const auto refused =
      Take().Find(age->definition, {.may_scan = false}, [](const RecordRef&) { return true; });
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(Take().ListIndexes()->front().complete);
}

TEST_F(IndexTest, DefinitionsAreUpsertedListedAndDropped) {
  Open();
  const absl::StatusOr<IndexDefined> first = engine_->CreateIndex(people_, {.field = "age"});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(first->complete);
  const absl::StatusOr<IndexDefined> again = engine_->CreateIndex(people_, {.field = "age"});
  EXPECT_EQ(again->definition, first->definition) << "adding twice leaves one";
  Put("a", R"({"age": 1, "years": 2})");
  const absl::StatusOr<IndexDefined> unique =
      engine_->CreateIndex(people_, {.field = "age", .kind = IndexKind::kUnique});
  EXPECT_EQ(unique->definition.id, first->definition.id);
  EXPECT_EQ(unique->definition.number, 2u);
  EXPECT_FALSE(unique->complete) << "nobody has looked for duplicates";
  FoundPage page;
  EXPECT_THAT(Found(Take(), unique->definition, {}, &page), ElementsAre("a"));
  EXPECT_FALSE(page.scanned) << "what was built serves on";
  const absl::StatusOr<IndexDefined> other =
      engine_->CreateIndex(people_, {.field = "years", .name = "age"});
  EXPECT_GT(other->definition.id, first->definition.id);
  ASSERT_TRUE(other->replaced.has_value());
  EXPECT_EQ(other->replaced->id, first->definition.id);
  EXPECT_EQ(Take().ListIndexes()->size(), 1u);
  EXPECT_EQ(
      Take().Find(first->definition, {}, [](const RecordRef&) { return true; }).status().code(),
      absl::StatusCode::kNotFound);
  ASSERT_TRUE(engine_->DropIndex(people_, "age").ok());
  EXPECT_EQ(engine_->DropIndex(people_, "age").status().code(), absl::StatusCode::kNotFound);
  Open();
  EXPECT_TRUE(Take().ListIndexes()->empty());
  const absl::StatusOr<IndexDefined> fresh = engine_->CreateIndex(people_, {.field = "age"});
  EXPECT_GT(fresh->definition.id, other->definition.id) << "no id is given twice";
}

TEST_F(IndexTest, BadInputIsNamed) {
  Open();
  const IndexDefinition age = Create({.field = "age"});
  const Relation staff = Define("staff");
  const IndexDefinition scoped = Create({.field = "age", .scope = "staff"});
  EXPECT_EQ(scoped.name, "age@staff");
  const auto find = [&](const IndexDefinition& index, const IndexQuery& query) {
    return Take().Find(index, query, [](const RecordRef&) { return true; }).status();
  };
  struct Case {
    absl::Status status;
    absl::StatusCode code;
    const char* want;
  };
  const absl::StatusCode invalid = absl::StatusCode::kInvalidArgument;
  const absl::StatusCode not_found = absl::StatusCode::kNotFound;
  for (const Case& c : std::vector<Case>{
           {engine_->CreateIndex({.id = 99, .name = "no"}, {.field = "a"}).status(), not_found,
            "collection number 99"},
           {engine_->CreateIndex(people_, {.field = "a..b"}).status(), invalid, "single dots"},
           {engine_->CreateIndex(people_, {.field = "a", .scope = "no"}).status(), not_found,
            "no relation 'no'"},
           {engine_->CreateIndex(teams_, {.field = "a", .scope = "staff"}).status(), invalid,
            "cannot scope"},
           {Take().FindIndex(people_, "no").status(), not_found, "no index 'no'"},
           {Take().FindUnique(age, int64_t{1}).status(), invalid, "unique"},
           {find(age, {.equal = Text(" ")}), invalid, "blank"},
           {find(age, {.equal = int64_t{1}, .prefix = "x"}), invalid, "several"},
           {find(age, {.from = int64_t{1}, .to = Text("x")}), invalid, "two types"},
           {find(age, {.owner = "t"}), invalid, "not scoped"},
           {find(scoped, {}), invalid, "no owner"},
           {find(age, {.equal = int64_t{1}, .after = "junk"}), invalid, "another query"},
           {engine_->DefineRelation({.name = "", .owners = teams_, .members = people_}).status(),
            invalid, "name"},
           {engine_->DefineRelation({.name = "r", .owners = {}, .members = people_}).status(),
            not_found, "collection number 0"},
           {engine_
                ->DefineRelation(
                    {.name = "staff", .owners = teams_, .members = people_, .member_max = 5})
                .status(),
            absl::StatusCode::kFailedPrecondition, "at most 5"},
           {engine_->OpenRelation("no").status(), not_found, "no relation 'no'"}}) {
    EXPECT_EQ(c.status.code(), c.code) << c.status;
    EXPECT_THAT(std::string(c.status.message()), HasSubstr(c.want));
  }
  EXPECT_EQ(*engine_->OpenRelation("staff"), staff);
}

TEST_F(IndexTest, MembersComeInOrderAndEndWithTheirEnds) {
  Open();
  const Relation scored = Define("scored", MemberOrder::kScore);
  const Relation listed = Define("listed", MemberOrder::kInsertion);
  MustCommit(*engine_, WriteBatch()
                           .Put(teams_, "t", Json("{}"))
                           .Put(people_, "a", Json("{}"))
                           .Put(people_, "b", Json("{}"))
                           .Put(people_, "c", Json("{}"))
                           .Link(scored, "t", "a", 3)
                           .Link(scored, "t", "b", -1)
                           .Stage(scored, "t", "c", 2)
                           .Link(listed, "t", "c")
                           .Link(listed, "t", "a"));
  for (const bool flushed : {false, true}) {
    if (flushed) testing::MustFlush(*engine_);
    EXPECT_THAT(Members(Take(), scored, "t"), ElementsAre("b", "a"));
    EXPECT_THAT(Members(Take(), scored, "t", {.reverse = true, .limit = 1}), ElementsAre("a"));
    EXPECT_THAT(Members(Take(), scored, "t", {.staged = true}), ElementsAre("c"));
    EXPECT_THAT(Members(Take(), listed, "t"), ElementsAre("c", "a"));
    EXPECT_THAT(Owners(Take(), scored, "a"), ElementsAre("t"));
  }
  MustCommit(*engine_, WriteBatch().Link(scored, "t", "c", 2).Link(listed, "t", "c"));
  EXPECT_THAT(Members(Take(), scored, "t"), ElementsAre("b", "c", "a")) << "activated";
  EXPECT_THAT(Members(Take(), listed, "t"), ElementsAre("c", "a")) << "keeps its place";
  // An id that is used again inherits nothing.
  MustCommit(*engine_, WriteBatch().Delete(people_, "a"));
  MustCommit(*engine_, WriteBatch().Put(people_, "a", Json("{}")));
  for (const bool flushed : {false, true}) {
    if (flushed) testing::MustFlush(*engine_);
    EXPECT_THAT(Members(Take(), scored, "t"), ElementsAre("b", "c"));
    EXPECT_THAT(Members(Take(), listed, "t"), ElementsAre("c"));
    EXPECT_THAT(Owners(Take(), scored, "a"), ElementsAre());
  }
}

// What the model knows of one person.
struct Person {
  std::optional<int64_t> age;
  std::string name;
};

// Random commits beside maps that hold what they should leave.
class IndexModelTest : public IndexTest {
 protected:
  size_t Below(size_t end) { return random_() % end; }

  void DeletePerson(const std::string& id, WriteBatch* batch) {
    batch->Delete(people_, id);
    persons_.erase(id);
    std::erase_if(links_, [&id](const auto& link) { return link.second == id; });
  }
  void ChangeTeam(const std::string& team, WriteBatch* batch) {
    if (Below(3) != 0) {
      batch->Put(teams_, team, Json("{}"));
      team_ids_.insert(team);
      return;
    }
    batch->Delete(teams_, team);
    team_ids_.erase(team);
    std::erase_if(links_, [&team](const auto& link) { return link.first == team; });
  }
  void PutPerson(const std::string& id) {
    Person person;
    if (Below(5) != 0) person.age = static_cast<int64_t>(Below(12));
    if (Below(2) == 0) person.name = absl::StrCat("n", Below(60));
    const bool taken = std::any_of(persons_.begin(), persons_.end(), [&](const auto& other) {
      return !person.name.empty() && other.first != id && other.second.name == person.name;
    });
    storage::DocumentBuilder builder;
    if (person.age.has_value()) builder.Set("age", *person.age);
    builder.Set("name", person.name);
    const absl::Status status = Try(WriteBatch().Put(people_, id, *builder.Finish()));
    ASSERT_EQ(absl::IsAlreadyExists(status), taken) << status;
    ASSERT_TRUE(taken || status.ok()) << status;
    if (!taken) persons_[id] = person;
  }
  void Step() {
    const std::string id = absl::StrCat("p", Below(40));
    const std::string team = absl::StrCat("t", Below(4));
    WriteBatch batch;
    switch (Below(8)) {
      case 0:
        DeletePerson(id, &batch);
        break;
      case 1:
        ChangeTeam(team, &batch);
        break;
      case 2:
      case 3:
        if (!persons_.contains(id) || !team_ids_.contains(team)) return;
        batch.Link(staff_, team, id);
        links_.emplace(team, id);
        break;
      case 4:
        batch.Unlink(staff_, team, id);
        links_.erase({team, id});
        break;
      default:
        return PutPerson(id);
    }
    const absl::Status status = Try(batch);
    ASSERT_TRUE(status.ok()) << status;
  }

  void CheckTeam(const Snapshot& snapshot, const std::string& team) {
    Ids members;
    std::set<std::pair<int64_t, std::string>> aged;
    for (const auto& [owner, member] : links_) {
      if (owner != team) continue;
      members.push_back(member);
      if (persons_[member].age.has_value()) aged.emplace(*persons_[member].age, member);
    }
    ASSERT_EQ(Members(snapshot, staff_, team), members);
    Ids in_scope;
    for (const auto& [value, id] : aged) in_scope.push_back(id);
    ASSERT_EQ(Found(snapshot, scoped_, {.owner = team}), in_scope);
  }
  void Check() {
    const Snapshot snapshot = Take();
    const auto low = static_cast<int64_t>(Below(10));
    std::set<std::pair<int64_t, std::string>> in_range;
    for (const auto& [id, person] : persons_) {
      if (person.age.has_value() && *person.age >= low) in_range.emplace(*person.age, id);
      if (person.name.empty()) continue;
      const auto owner = snapshot.FindUnique(name_, person.name);
      ASSERT_TRUE(owner.ok()) << person.name << owner.status();
      ASSERT_EQ(owner->id, id);
    }
    Ids want;
    for (const auto& [value, id] : in_range) want.push_back(id);
    Ids got;
    FoundPage page;
    do {  // In pages of any size.
      const Ids part =
          Found(snapshot, age_, {.from = low, .limit = 1 + Below(5), .after = page.next}, &page);
      got.insert(got.end(), part.begin(), part.end());
    } while (!page.next.empty());
    ASSERT_EQ(got, want);
    std::reverse(want.begin(), want.end());
    ASSERT_EQ(Found(snapshot, age_, {.from = low, .reverse = true}), want);
    for (const std::string& team : team_ids_) CheckTeam(snapshot, team);
  }

  std::mt19937_64 random_{testing::Seed()};
  Relation staff_;
  IndexDefinition age_;
  IndexDefinition name_;
  IndexDefinition scoped_;
  std::map<std::string, Person> persons_;
  std::set<std::string> team_ids_;
  std::set<std::pair<std::string, std::string>> links_;
};

TEST_F(IndexModelTest, LookupsAreWhatMapsSayThroughFlushesAndReopens) {
  Open(testing::SmallEngine());
  staff_ = Define("staff");
  age_ = Create({.field = "age"});
  name_ = Create({.field = "name", .kind = IndexKind::kUnique});
  scoped_ = Create({.field = "age", .scope = "staff"});
  const size_t rounds = testing::Scaled(1500);
  for (size_t i = 0; i < rounds && !HasFatalFailure(); ++i) {
    Step();
    if (Below(20) == 0) Check();
    if (Below(60) == 0) testing::MustFlush(*engine_);
    if (Below(400) == 0) Open(testing::SmallEngine());
  }
  Check();
  testing::MustFlush(*engine_);
  Check();
}

}  // namespace
}  // namespace millrace
