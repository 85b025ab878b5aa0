#include "millrace/storage/key_filter.h"

#include <cstdint>
#include <limits>
#include <string>

#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

std::string Key(const char* kind, uint64_t i) {
  return kind + std::to_string(i * 0x9e3779b97f4a7c15);
}

TEST(KeyFilterTest, KeysThatWereAddedAreNeverMissed) {
  // Ten times more keys than expected: less sharp, but never wrong.
  for (size_t expected : {size_t{0}, size_t{1}, size_t{10'000}}) {
    KeyFilter filter(expected);
    ASSERT_TRUE(filter.Prepare().ok());
    for (uint64_t i = 0; i < 100'000; ++i) filter.Add(KeyFilter::Hash(Key("k", i)));
    for (uint64_t i = 0; i < 100'000; ++i) ASSERT_TRUE(filter.MayContain(Key("k", i))) << i;
  }
}

TEST(KeyFilterTest, AlmostAllOtherKeysAreRuledOut) {
  constexpr uint64_t kKeys = 100'000;
  KeyFilter filter(kKeys);
  ASSERT_TRUE(filter.Prepare().ok());
  for (uint64_t i = 0; i < kKeys; ++i) filter.Add(KeyFilter::Hash(Key("k", i)));
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < kKeys; ++i) wrong += filter.MayContain(Key("other", i)) ? 1 : 0;
  EXPECT_LT(wrong, kKeys / 100);
}

TEST(KeyFilterTest, ItsSizeIsBounded) {
  KeyFilter filter(std::numeric_limits<size_t>::max());
  ASSERT_TRUE(filter.Prepare().ok());
  EXPECT_LE(filter.mapped_bytes(), size_t{16} << 20);
  filter.Add(KeyFilter::Hash("k"));
  EXPECT_TRUE(filter.MayContain("k"));
}

TEST(KeyFilterTest, NothingIsInAnUnpreparedFilter) {
  const KeyFilter filter(1'000);
  EXPECT_FALSE(filter.MayContain("k"));
  EXPECT_EQ(filter.mapped_bytes(), 0u);
}

}  // namespace
}  // namespace millrace::storage
