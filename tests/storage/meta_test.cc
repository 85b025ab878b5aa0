#include "millrace/storage/meta.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

using ::testing::HasSubstr;
using Code = absl::StatusCode;

Manifest SampleManifest() {
  return {.id = 7,
          .parent = 6,
          .last_version = 1234,
          .log_floor = 3,
          .counts = {{{0, 1}, 42}, {{0, 2}, 0}, {{9, 1}, -1}}};
}

FlushRow SampleFlushRow() {
  return {.sequence = 8,
          .first_version = 1235,
          .last_version = 1300,
          .attempt = 2,
          .next_slice = 5,
          .cursor = std::string("\2\0\1key", 6),
          .deltas = {{{0, 1}, -3}}};
}

TEST(MetaTest, RowsComeBackAsTheyWereWritten) {
  EXPECT_EQ(*DecodeManifest(EncodeManifest(SampleManifest())), SampleManifest());
  EXPECT_EQ(*DecodeManifest(EncodeManifest({})), Manifest());
  EXPECT_EQ(*DecodeFlushRow(EncodeFlushRow(SampleFlushRow())), SampleFlushRow());
  for (const uint64_t number : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
    EXPECT_EQ(*DecodeNumber("head", EncodeNumber("head", number)), number);
  }
  EXPECT_EQ(*UnsealBytes("pruned", SealBytes("pruned", "")), "");
}

TEST(MetaTest, EveryFlippedBitIsDamage) {
  const auto flip_all = [](const std::string& row, auto decode) {
    for (size_t bit = 0; bit < 8 * row.size(); ++bit) {
      std::string damaged = row;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
      EXPECT_EQ(decode(damaged).status().code(), Code::kDataLoss) << "bit " << bit;
    }
    for (size_t size = 0; size < row.size(); ++size) {
      EXPECT_EQ(decode(row.substr(0, size)).status().code(), Code::kDataLoss) << size << " bytes";
    }
  };
  flip_all(EncodeManifest(SampleManifest()), DecodeManifest);
  flip_all(EncodeFlushRow(SampleFlushRow()), DecodeFlushRow);
  flip_all(EncodeNumber("head", 300),
           [](const std::string& row) { return DecodeNumber("head", row); });
}

// What a flipped bit makes of a key is another key.
TEST(MetaTest, RowUnderAnothersKeyIsDamageAndNamed) {
  const absl::Status status = DecodeNumber("heae", EncodeNumber("head", 5)).status();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'heae'"));
  EXPECT_EQ(UnsealBytes("a", SealBytes("b", "bytes")).status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace millrace::storage
