#include "millrace/storage/row_key.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

std::string Ordered(uint64_t value) {
  std::string out;
  AppendOrderedInteger(value, &out);
  return out;
}

TEST(RowKeyTest, OrderedIntegersRoundTripAndKeepTheirOrder) {
  std::vector<uint64_t> values = {0,     1,        239,       240,
                                  241,   2287,     2288,      67823,
                                  67824, 0xffffff, 0x1000000, std::numeric_limits<uint64_t>::max()};
  std::mt19937_64 random(20261121);
  for (int i = 0; i < 10'000; ++i) values.push_back(random() >> (random() % 64));
  std::sort(values.begin(), values.end());
  std::string previous;
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string encoded = Ordered(values[i]);
    uint64_t decoded = 0;
    std::string_view rest = encoded;
    ASSERT_TRUE(ConsumeOrderedInteger(&rest, &decoded));
    EXPECT_EQ(decoded, values[i]);
    EXPECT_TRUE(rest.empty());
    if (i > 0 && values[i - 1] < values[i]) {
      EXPECT_LT(previous, encoded) << values[i];
    }
    previous = encoded;
  }
}

TEST(RowKeyTest, TruncatedIntegersAreRefused) {
  for (uint64_t value : {uint64_t{241}, uint64_t{70'000}, std::numeric_limits<uint64_t>::max()}) {
    const std::string encoded = Ordered(value);
    for (size_t size = 0; size < encoded.size(); ++size) {
      std::string_view in(encoded.data(), size);
      uint64_t decoded;
      EXPECT_FALSE(ConsumeOrderedInteger(&in, &decoded)) << value << " cut to " << size;
    }
  }
}

TEST(RowKeyTest, RowKeysRoundTrip) {
  const std::string encoded =
      EncodeRowKey({.tree = Tree::kRecords, .branch = 7, .collection = 300, .id = "libc6:amd64"});
  const absl::StatusOr<RowKey> key = DecodeRowKey(encoded);
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->branch, 7u);
  EXPECT_EQ(key->collection, 300u);
  EXPECT_EQ(key->id, "libc6:amd64");
  EXPECT_EQ(DecodeRowKey("").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeRowKey("\x09").status().code(), absl::StatusCode::kDataLoss);
}

TEST(RowKeyTest, PrefixSuccessorBoundsTheCollection) {
  const std::string prefix = EncodeCollectionPrefix(Tree::kRecords, kTrunk, 1);
  const std::string end = PrefixSuccessor(prefix);
  EXPECT_LT(EncodeRowKey({.collection = 1, .id = "\xff\xff"}), end);
  EXPECT_GE(EncodeRowKey({.collection = 2, .id = "a"}), end);
  EXPECT_EQ(PrefixSuccessor("\xff\xff"), "");
}

TEST(RowKeyTest, IdsAreChecked) {
  EXPECT_TRUE(CheckId("a").ok());
  EXPECT_TRUE(CheckId(std::string(255, 'x')).ok());
  EXPECT_EQ(CheckId("").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckId(std::string(256, 'x')).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckId("\xc3").code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace millrace::storage
