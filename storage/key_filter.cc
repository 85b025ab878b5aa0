#include "millrace/storage/key_filter.h"

#include <algorithm>
#include <new>

#include "xxhash.h"

namespace millrace::storage {
namespace {

constexpr int kWords = 8;
constexpr int kBitsPerKey = 4;
constexpr size_t kKeysPerLine = 32;
// However many keys are expected: 16 MiB.
constexpr size_t kLinesMax = size_t{1} << 18;

// Nine bits say which bit of the line is meant. The line itself is chosen by the hash's upper half,
// so the rest is mixed once more.
struct Bits {
  explicit Bits(uint64_t hash) : rest(hash * 0x9e3779b97f4a7c15 >> 16) {}
  int word() const { return static_cast<int>(rest & (kWords - 1)); }
  uint64_t mask() const { return uint64_t{1} << (rest >> 3 & 63); }
  void Next() { rest >>= 9; }

  uint64_t rest;
};

}  // namespace

struct alignas(64) KeyFilter::Line {
  std::atomic<uint64_t> words[kWords];
};

KeyFilter::KeyFilter(size_t expected_keys)
    : arena_(alignof(Line)),
      line_count_(std::clamp<size_t>(expected_keys / kKeysPerLine, 1, kLinesMax)) {
}

absl::Status KeyFilter::Prepare() {
  const size_t bytes = line_count_ * sizeof(Line);
  if (absl::Status reserved = arena_.Reserve(bytes); !reserved.ok()) return reserved;
  // Release: pairs with the acquire load of MayContain.
  lines_.store(reinterpret_cast<Line*>(arena_.Allocate(bytes)), std::memory_order_release);
  return absl::OkStatus();
}

uint64_t KeyFilter::Hash(std::string_view key) {
  return XXH3_64bits(key.data(), key.size());
}

void KeyFilter::Prefetch(uint64_t hash) const {
  __builtin_prefetch(&lines_.load(std::memory_order_relaxed)[(hash >> 32) * line_count_ >> 32]);
}

void KeyFilter::Add(uint64_t hash) {
  // Relaxed, here and in MayContain: one writer, and nothing is published through a bit.
  Line& line = lines_.load(std::memory_order_relaxed)[(hash >> 32) * line_count_ >> 32];
  Bits bits(hash);
  for (int i = 0; i < kBitsPerKey; ++i, bits.Next()) {
    std::atomic<uint64_t>& word = line.words[bits.word()];
    word.store(word.load(std::memory_order_relaxed) | bits.mask(), std::memory_order_relaxed);
  }
}

bool KeyFilter::MayContain(std::string_view key) const {
  // Acquire: pairs with the release store of Prepare.
  const Line* const lines = lines_.load(std::memory_order_acquire);
  if (lines == nullptr) return false;
  const uint64_t hash = Hash(key);
  const Line& line = lines[(hash >> 32) * line_count_ >> 32];
  Bits bits(hash);
  for (int i = 0; i < kBitsPerKey; ++i, bits.Next()) {
    if ((line.words[bits.word()].load(std::memory_order_relaxed) & bits.mask()) == 0) return false;
  }
  return true;
}

}  // namespace millrace::storage
