#include "millrace/storage/relation.h"

#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"

#include "millrace/storage/index_entry.h"

namespace millrace::storage {
namespace {

TEST(RelationTest, RoundTripsThroughTheCatalog) {
  const Relation relation{.id = 2,
                          .name = "staff",
                          .owners = 1,
                          .members = 3,
                          .order = MemberOrder::kScore,
                          .member_max = 10};
  const absl::StatusOr<Relation> read = ReadRelation("staff", EncodeRelation(relation).bytes());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, relation);
  EXPECT_TRUE(RelationDefinitionKey("staff").starts_with(AllRelationsPrefix()));
}

TEST(RelationTest, NewerAndDamagedDefinitionsAreTold) {
  EXPECT_EQ(ReadRelation("r", Document::FromJson(R"({"format": 2})")->bytes()).status().code(),
            absl::StatusCode::kFailedPrecondition);
  for (const char* json :
       {R"({})", R"({"format": 1, "id": 1, "owners": 1, "members": 0, "order": 1})",
        R"({"format": 1, "id": 1, "owners": 1, "members": 1, "order": 4})"}) {
    EXPECT_EQ(ReadRelation("r", Document::FromJson(json)->bytes()).status().code(),
              absl::StatusCode::kDataLoss)
        << json;
  }
}

TEST(RelationTest, RowKeysComeBackAndOrderWithinTheirEnd) {
  std::mt19937_64 random(20260728);
  const auto text = [&random] {
    constexpr char kBytes[] = {'\0', '\1', 'a', '\xff'};
    std::string out(1 + random() % 3, '\0');
    for (char& c : out) c = kBytes[random() % sizeof(kBytes)];
    return out;
  };
  const auto place = [&random] {
    return LinkData{.score = static_cast<double>(random() % 5) - 2, .position = random() % 3};
  };
  for (int i = 0; i < 50'000; ++i) {
    const std::string owner = text();
    const std::string member = text();
    const std::string other = text();
    const LinkData data = place();
    const LinkData other_data = place();
    for (MemberOrder order : {MemberOrder::kId, MemberOrder::kScore, MemberOrder::kInsertion}) {
      const LinkEnds ends{.relation = 9, .owner = owner, .member = member};
      for (const std::string& key : {MemberRowKey(ends), OwnerRowKey(ends, order, data)}) {
        const absl::StatusOr<LinkRow> row = DecodeLinkRowKey(key, order);
        ASSERT_TRUE(row.ok()) << row.status();
        ASSERT_EQ(row->ends.relation, 9u);
        ASSERT_EQ(row->ends.owner, owner);
        ASSERT_EQ(row->ends.member, member);
      }
      ASSERT_TRUE(MemberRowKey(ends).starts_with(MemberRowPrefix(kTrunk, 9, member)));
      const auto rank = [order](const LinkData& link, const std::string& id) {
        return std::tuple(order == MemberOrder::kScore       ? link.score
                          : order == MemberOrder::kInsertion ? static_cast<double>(link.position)
                                                             : 0.0,
                          id);
      };
      const std::string key = OwnerRowKey(ends, order, data);
      const std::string other_key =
          OwnerRowKey({.relation = 9, .owner = owner, .member = other}, order, other_data);
      ASSERT_EQ(key < other_key, rank(data, member) < rank(other_data, other));
      ASSERT_TRUE(key.starts_with(OwnerRowPrefix(kTrunk, 9, owner)));
    }
    if (other != owner) {
      ASSERT_FALSE(
          OwnerRowKey({.relation = 9, .owner = other, .member = member}, MemberOrder::kId, {})
              .starts_with(OwnerRowPrefix(kTrunk, 9, owner)));
    }
  }
}

TEST(RelationTest, DamagedKeysAndDataAreRefused) {
  const LinkEnds ends{.relation = 9, .owner = "o", .member = "m"};
  const std::string key = OwnerRowKey(ends, MemberOrder::kScore, {.score = 1});
  for (size_t size = 0; size < key.size(); ++size) {
    EXPECT_EQ(DecodeLinkRowKey(key.substr(0, size), MemberOrder::kScore).status().code(),
              absl::StatusCode::kDataLoss);
  }
  const LinkData data{.score = -0.25, .staged = true, .position = 7};
  const std::string bytes = EncodeLinkData(data);
  EXPECT_EQ(*DecodeLinkData(bytes), data);
  EXPECT_EQ(DecodeLinkData(bytes.substr(1)).status().code(), absl::StatusCode::kDataLoss);
}

TEST(RelationTest, EndsThatNoKeyHoldsAreRefused) {
  EXPECT_TRUE(CheckLinkEnds("o", "m").ok());
  for (const auto& [owner, member] : std::vector<std::pair<std::string, std::string>>{
           {"", "m"},
           {"o", ""},
           {"o", "\xff"},
           {std::string(256, 'o'), "m"},
           {std::string(200, 'o'), std::string(151, 'm')}}) {
    EXPECT_EQ(CheckLinkEnds(owner, member).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(CheckLinkEnds(std::string(200, 'o'), std::string(150, 'm')).ok());
}

}  // namespace
}  // namespace millrace::storage
