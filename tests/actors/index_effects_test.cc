#include "millrace/actors/index_effects.h"

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/actors/indexed_store.h"

#include "millrace/messages/error.h"
#include "millrace/storage/index_entry.h"

namespace millrace {
namespace {

using storage::IndexKind;
using storage::MemberOrder;
using storage::Relation;
using storage::WriteBatch;
using ::testing::HasSubstr;
using testing::IndexedStore;
using testing::Json;
using testing::kPeople;
using testing::kTeams;

class IndexEffectsTest : public ::testing::Test {
 protected:
  // The effects as text, or the error.
  absl::StatusOr<std::string> Accept(WriteBatch batch) {
    const absl::StatusOr<std::string> effects = store_.Accept(std::move(batch));
    if (!effects.ok()) return effects.status();
    return Text(*effects);
  }
  std::string Refused(WriteBatch batch) {
    const absl::Status status = Accept(std::move(batch)).status();
    EXPECT_FALSE(status.ok());
    return absl::StrCat(absl::StatusCodeToString(status.code()), ": ", status.message());
  }

  // "+id -id" for records, "c<index>:value=id" for candidates, "+member<owner" and "+owner>member"
  // for link rows.
  std::string Text(std::string_view effects) {
    std::string text;
    storage::Operation operation;
    while (storage::ConsumeOperation(&effects, &operation)) {
      const storage::RowKey key = *storage::DecodeRowKey(operation.key);
      const char* sign = operation.kind == storage::OperationKind::kPut ? "+" : "-";
      if (!text.empty()) text += ' ';
      if (key.tree == storage::Tree::kRecords) {
        absl::StrAppend(&text, sign, std::string(key.id));
      } else if (key.tree == storage::Tree::kCandidates) {
        std::string_view id = key.id;
        storage::IndexValue value;
        bool cut = false;
        EXPECT_TRUE(storage::ConsumeIndexValue(&id, &value, &cut));
        absl::StrAppend(&text, "c", key.collection, ":", storage::ToString(value), "=",
                        std::string(id));
      } else {
        const storage::LinkRow row =
            *storage::DecodeLinkRowKey(operation.key, store_.relations().begin()->second.order);
        const std::string owner(row.ends.owner);
        const std::string member(row.ends.member);
        absl::StrAppend(
            &text, sign,
            row.of_owner ? absl::StrCat(owner, ">", member) : absl::StrCat(member, "<", owner));
      }
    }
    return text;
  }

  static WriteBatch Put(const std::string& id, const std::string& json) {
    return WriteBatch().Put(kPeople, id, Json(json));
  }

  IndexedStore store_;
};

TEST_F(IndexEffectsTest, PutsBringACandidateForEachValueAndDeletesNone) {
  store_.AddIndex("name", IndexKind::kMulti);
  store_.AddIndex("age", IndexKind::kMulti);
  EXPECT_EQ(*Accept(Put("a", R"({"name": "Ada", "age": 36})")), R"(+a c1:"Ada"=a c2:36=a)");
  EXPECT_EQ(*Accept(Put("b", R"({"name": " ", "age": null})")), "+b");
  EXPECT_FALSE(store_.effects().reads_rows()) << "a multi index costs a blind put no read";
  EXPECT_EQ(*Accept(WriteBatch().Delete(kPeople, "a")), "-a");
  EXPECT_EQ(*Accept(WriteBatch().Merge(kPeople, "b", Json(R"({"age": 3})"))), "+b c2:3=b");
  EXPECT_EQ(*Accept(WriteBatch().Put(kTeams, "t", Json(R"({"name": "Ada"})"))), "+t")
      << "of another collection";
}

TEST_F(IndexEffectsTest, AUniqueValueHasOneOwnerWhereverItIs) {
  store_.AddIndex("mail", IndexKind::kUnique);
  const std::string x = R"({"mail": "x"})";
  ASSERT_TRUE(Accept(Put("a", x)).ok());
  EXPECT_TRUE(Accept(Put("a", x)).ok()) << "it is his own";
  const absl::Status in_l0 = Accept(Put("b", x)).status();
  EXPECT_EQ(in_l0.code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(GetIndexConflict(in_l0).has_value());
  EXPECT_EQ(GetIndexConflict(in_l0)->owner, "a");
  EXPECT_EQ(GetIndexConflict(in_l0)->index, "mail");
  EXPECT_THAT(Refused(WriteBatch()
                          .Put(kPeople, "c", Json(R"({"mail": "y"})"))
                          .Put(kPeople, "d", Json(R"({"mail": "y"})"))),
              HasSubstr("record 'c' has it"));
}

TEST_F(IndexEffectsTest, AChangeOrADeleteFreesTheValueAtOnce) {
  store_.AddIndex("mail", IndexKind::kUnique);
  const std::string x = R"({"mail": "x"})";
  ASSERT_TRUE(Accept(Put("a", x)).ok());
  ASSERT_TRUE(Accept(Put("a", R"({"mail": "y"})")).ok());
  ASSERT_TRUE(Accept(Put("b", x)).ok());
  EXPECT_THAT(Refused(Put("a", x)), HasSubstr("record 'b' has it"));
  ASSERT_TRUE(Accept(WriteBatch().Delete(kPeople, "b")).ok());
  EXPECT_TRUE(Accept(Put("c", x)).ok());
  // Within one batch: swapped, and taken over from one that goes.
  EXPECT_TRUE(
      Accept(WriteBatch().Put(kPeople, "a", Json(x)).Put(kPeople, "c", Json(R"({"mail": "y"})")))
          .ok());
  EXPECT_TRUE(Accept(WriteBatch().Delete(kPeople, "a").Put(kPeople, "d", Json(x))).ok());
  EXPECT_TRUE(Accept(WriteBatch()
                         .Merge(kPeople, "c", Json(R"({"mail": null})"))
                         .Put(kPeople, "e", Json(R"({"mail": "y"})")))
                  .ok());
}

// F22, W14: what is rotated and not yet in LMDB counts like everything else, deletions included.
TEST_F(IndexEffectsTest, ClaimsAndPreconditionsSeeBuffersThatAreBeingFlushed) {
  store_.AddIndex("mail", IndexKind::kUnique);
  const std::string x = R"({"mail": "x"})";
  const auto absent = [&](const std::string& id) {
    return WriteBatch().Put(kPeople, id, Json("{}"), storage::Precondition::Absent());
  };
  ASSERT_TRUE(Accept(Put("a", x)).ok());
  store_.FlushAll();
  std::vector<FlushJob> pending;
  pending.push_back(store_.Rotate());
  EXPECT_THAT(Refused(Put("b", x)), HasSubstr("record 'a' has it")) << "in LMDB";
  ASSERT_TRUE(Accept(WriteBatch().Delete(kPeople, "a")).ok());
  pending.push_back(store_.Rotate());
  EXPECT_TRUE(Accept(absent("a")).ok()) << "deleted in a sealed buffer";
  ASSERT_TRUE(Accept(Put("b", x)).ok()) << "freed in a sealed buffer";
  pending.push_back(store_.Rotate());
  EXPECT_THAT(Refused(Put("c", x)), HasSubstr("record 'b' has it")) << "taken in a sealed buffer";
  EXPECT_THAT(Refused(absent("a")), HasSubstr("FAILED_PRECONDITION"));
  for (size_t i = 0; i < pending.size(); ++i) {
    pending[i].sequence += i;  // They were rotated before any was published.
    store_.pipeline().Flush(pending[i], 100);
    store_.Drop();
  }
  EXPECT_THAT(Refused(Put("c", x)), HasSubstr("record 'b' has it"));
  EXPECT_THAT(Refused(absent("b")), HasSubstr("FAILED_PRECONDITION"));
  EXPECT_TRUE(Accept(Put("b", "{}")).ok());
  EXPECT_TRUE(Accept(Put("c", x)).ok());
}

TEST_F(IndexEffectsTest, BlankValuesAreNobodys) {
  store_.AddIndex("mail", IndexKind::kUnique);
  for (const char* json :
       {R"({})", R"({"mail": null})", R"({"mail": ""})", R"({"mail": " "})", R"({"mail": []})"}) {
    EXPECT_TRUE(Accept(Put(absl::StrCat("a", json), json)).ok()) << json;
    EXPECT_TRUE(Accept(Put(absl::StrCat("b", json), json)).ok()) << json;
  }
}

TEST_F(IndexEffectsTest, ValuesAreComparedByValueAndWhole) {
  store_.AddIndex("v", IndexKind::kUnique);
  ASSERT_TRUE(Accept(Put("a", R"({"v": 1})")).ok());
  EXPECT_THAT(Refused(Put("b", R"({"v": 1.0})")), HasSubstr("record 'a' has it"));
  EXPECT_TRUE(Accept(Put("b", R"({"v": "1"})")).ok());
  const std::string text(300, 'x');
  ASSERT_TRUE(Accept(Put("c", absl::StrCat(R"({"v": ")", text, R"(1"})"))).ok());
  EXPECT_TRUE(Accept(Put("d", absl::StrCat(R"({"v": ")", text, R"(2"})"))).ok());
  EXPECT_THAT(Refused(Put("e", absl::StrCat(R"({"v": ")", text, R"(2"})"))),
              HasSubstr("record 'd' has it"));
}

TEST_F(IndexEffectsTest, AnUnfulfilledIndexIsNotEnforcedUnlessItsBuildIs) {
  const storage::IndexDefinition index = store_.AddIndex("mail", IndexKind::kUnique);
  storage::MarkedIndex& marked = store_.indexes().at(index.id);
  marked.generations.live = 0;
  store_.SetMarks();
  const std::string x = R"({"mail": "x"})";
  EXPECT_TRUE(Accept(Put("a", x)).ok());
  EXPECT_TRUE(Accept(Put("b", x)).ok());
  marked.generations.building = 2;
  marked.enforce_building = true;
  store_.SetMarks();
  EXPECT_THAT(Refused(Put("c", x)), HasSubstr("unique index 'mail'"));
}

TEST_F(IndexEffectsTest, LinksHaveTwoRowsAndNeedBothEnds) {
  const Relation staff = store_.AddRelation("staff", kTeams, MemberOrder::kScore);
  ASSERT_TRUE(Accept(WriteBatch().Put(kTeams, "t", Json("{}"))).ok());
  EXPECT_THAT(Refused(WriteBatch().Link(staff, "t", "a")),
              HasSubstr("record 'a' of collection 1 does not exist"));
  EXPECT_THAT(Refused(WriteBatch().Link(staff, "u", "a")),
              HasSubstr("record 'u' of collection 2 does not exist"));
  EXPECT_EQ(*Accept(Put("a", "{}").Link(staff, "t", "a", 5)), "+a +a<t +t>a")
      << "put by the same batch";
  EXPECT_EQ(*Accept(WriteBatch().Link(staff, "t", "a", 5)), "+a<t +t>a");
  EXPECT_EQ(*Accept(WriteBatch().Link(staff, "t", "a", 6)), "-t>a +a<t +t>a") << "another score";
  EXPECT_EQ(*Accept(WriteBatch().Unlink(staff, "t", "a")), "-a<t -t>a");
  EXPECT_EQ(*Accept(WriteBatch().Unlink(staff, "t", "a")), "") << "there is none";
  EXPECT_THAT(Refused(WriteBatch().Delete(kPeople, "a").Link(staff, "t", "a")),
              HasSubstr("does not exist"));
  EXPECT_THAT(Refused(WriteBatch().Link({.id = 9, .name = "other"}, "t", "a")),
              HasSubstr("NOT_FOUND: there is no relation number 9"));
}

TEST_F(IndexEffectsTest, ACapCountsMembersThatAreThere) {
  const Relation staff = store_.AddRelation("staff", kTeams, MemberOrder::kId, 2);
  WriteBatch people;
  people.Put(kTeams, "t", Json("{}")).Put(kTeams, "u", Json("{}"));
  for (const char* id : {"a", "b", "c", "d"}) people.Put(kPeople, id, Json("{}"));
  ASSERT_TRUE(Accept(people).ok());
  EXPECT_THAT(
      Refused(WriteBatch().Link(staff, "t", "a").Link(staff, "t", "b").Link(staff, "t", "c")),
      HasSubstr("more than the 2 members"));
  ASSERT_TRUE(Accept(WriteBatch().Link(staff, "t", "a").Link(staff, "t", "b")).ok());
  EXPECT_THAT(Refused(WriteBatch().Link(staff, "t", "c")), HasSubstr("more than the 2 members"));
  EXPECT_TRUE(Accept(WriteBatch().Link(staff, "t", "a")).ok()) << "is a member already";
  EXPECT_TRUE(Accept(WriteBatch().Link(staff, "u", "c")).ok()) << "another owner";
  EXPECT_TRUE(Accept(WriteBatch().Stage(staff, "t", "c")).ok()) << "is no member yet";
  EXPECT_THAT(Refused(WriteBatch().Link(staff, "t", "c")), HasSubstr("more than the 2 members"));
  EXPECT_TRUE(Accept(WriteBatch().Unlink(staff, "t", "a").Link(staff, "t", "c")).ok());
  ASSERT_TRUE(Accept(WriteBatch().Delete(kPeople, "b")).ok());
  EXPECT_TRUE(Accept(WriteBatch().Link(staff, "t", "d")).ok()) << "a deletion makes room";
  EXPECT_THAT(Refused(WriteBatch().Link(staff, "t", "a")), HasSubstr("more than the 2 members"));
}

TEST_F(IndexEffectsTest, AScopedValueIsUniqueForEachOwner) {
  const Relation staff = store_.AddRelation("staff", kTeams);
  store_.AddIndex("badge", IndexKind::kUnique, staff.id);
  WriteBatch teams;
  teams.Put(kTeams, "t", Json("{}")).Put(kTeams, "u", Json("{}"));
  ASSERT_TRUE(Accept(teams).ok());
  const std::string badge = R"({"badge": 7})";
  ASSERT_TRUE(Accept(Put("a", badge).Link(staff, "t", "a")).ok());
  ASSERT_TRUE(Accept(Put("b", badge).Link(staff, "u", "b")).ok()) << "in another scope";
  ASSERT_TRUE(Accept(Put("c", badge)).ok()) << "in no scope";
  EXPECT_THAT(Refused(WriteBatch().Link(staff, "t", "c")), HasSubstr("record 'a' has it"));
  EXPECT_THAT(Refused(Put("d", badge).Link(staff, "t", "d")), HasSubstr("record 'a' has it"));
  ASSERT_TRUE(Accept(Put("c", R"({"badge": 8})").Link(staff, "t", "c")).ok());
  EXPECT_THAT(Refused(Put("c", badge)), HasSubstr("record 'a' has it"));
  // Leaving the scope frees the value, in whatever way.
  ASSERT_TRUE(Accept(WriteBatch().Unlink(staff, "t", "a")).ok());
  ASSERT_TRUE(Accept(Put("c", badge)).ok());
  ASSERT_TRUE(Accept(WriteBatch().Delete(kTeams, "t")).ok());
  ASSERT_TRUE(Accept(WriteBatch().Put(kTeams, "t", Json("{}"))).ok());
  EXPECT_EQ(*Accept(WriteBatch().Link(staff, "t", "a")), "+a<t +t>a c1:7=a")
      << "a link brings its member's value";
}

TEST_F(IndexEffectsTest, ACollectionThatANewerVersionIndexesTakesNoWrites) {
  store_.effects().SetMarks(
      storage::MakeMarks({}, {}, {{kPeople.id, absl::FailedPreconditionError("newer")}}));
  EXPECT_THAT(Refused(Put("a", "{}")), HasSubstr("newer"));
  EXPECT_TRUE(Accept(WriteBatch().Put(kTeams, "t", Json("{}"))).ok());
}

TEST_F(IndexEffectsTest, RefusedLinksNameWhatIsWrong) {
  const Relation staff = store_.AddRelation("staff", kTeams);
  EXPECT_THAT(Refused(WriteBatch().Link(staff, "", "a")), HasSubstr("the owner"));
  EXPECT_THAT(Refused(WriteBatch().Link(staff, "t", "")), HasSubstr("the member"));
  EXPECT_THAT(Refused(WriteBatch().Link({}, "t", "a")), HasSubstr("never opened"));
  EXPECT_THAT(Refused(WriteBatch().Link(staff, "t", "a", std::nan(""))), HasSubstr("not a number"));
}

}  // namespace
}  // namespace millrace
