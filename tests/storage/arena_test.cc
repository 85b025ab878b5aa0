#include "millrace/storage/arena.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

TEST(ArenaTest, PiecesAreAlignedZeroedAndApart) {
  constexpr uint64_t kSeed = 20261121;
  std::mt19937_64 random(kSeed);
  Arena arena(64);
  std::vector<std::pair<char*, size_t>> pieces;
  for (int i = 0; i < 5'000; ++i) {
    const size_t size = 1 + random() % (i % 100 == 0 ? 300'000 : 300);
    char* const piece = arena.Allocate(size);
    ASSERT_EQ(reinterpret_cast<uintptr_t>(piece) % 64, 0u) << "seed " << kSeed;
    for (size_t at = 0; at < size; at += 64) ASSERT_EQ(piece[at], 0);
    memset(piece, i, size);
    pieces.emplace_back(piece, size);
  }
  size_t total = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto [piece, size] = pieces[i];
    ASSERT_EQ(piece[0], static_cast<char>(i));
    ASSERT_EQ(piece[size - 1], static_cast<char>(i));
    total += size;
  }
  EXPECT_GE(arena.used_bytes(), total);
  EXPECT_GE(arena.mapped_bytes(), arena.used_bytes());
}

TEST(ArenaTest, ReservedBytesNeedNoMoreMapping) {
  std::mt19937_64 random(1);
  Arena arena(64);
  for (int round = 0; round < 200; ++round) {
    const size_t reserved = 64 * (1 + random() % (round % 20 == 0 ? 50'000 : 500));
    ASSERT_TRUE(arena.Reserve(reserved).ok());
    const size_t mapped = arena.mapped_bytes();
    for (size_t used = 0; used < reserved;) {
      const size_t size = std::min<size_t>(reserved - used, 64 * (1 + random() % 8));
      arena.Allocate(size);
      used += size;
    }
    ASSERT_EQ(arena.mapped_bytes(), mapped) << "round " << round;
  }
}

TEST(ArenaTest, TheLimitRefusesAndLeavesWhatWasReserved) {
  Arena arena(8, size_t{1} << 20);
  ASSERT_TRUE(arena.Reserve(100'000).ok());
  EXPECT_EQ(arena.Reserve(size_t{2} << 20).code(), absl::StatusCode::kResourceExhausted);
  const size_t mapped = arena.mapped_bytes();
  for (int i = 0; i < 100; ++i) arena.Allocate(1'000);
  EXPECT_EQ(arena.mapped_bytes(), mapped);
  EXPECT_LE(mapped, size_t{1} << 20);
}

}  // namespace
}  // namespace millrace::storage
