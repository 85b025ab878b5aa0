#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"

#include "millrace/storage/arena.h"

namespace millrace::storage {

// Says that a key is surely not in a set: a Bloom filter whose bits for one key lie in one cache
// line, so a miss costs that line. Two bytes a key give 0.3 % false positives, which grow when more
// keys than expected come; there is never a false negative. It takes at most 16 MiB.
//
// Thread-safe for one writer and many readers. Adding publishes nothing: a reader must have learned
// of a key by other means (a published version) before the filter has to know it.
class KeyFilter {
 public:
  explicit KeyFilter(size_t expected_keys);

  // Writer only, and before the first Add. ResourceExhausted if there is no memory.
  absl::Status Prepare();
  // Writer only. The bits of a hash: fetched ahead, and set.
  void Prefetch(uint64_t hash) const;
  void Add(uint64_t hash);
  // Any thread. False if the key was surely never added.
  bool MayContain(std::string_view key) const;

  static uint64_t Hash(std::string_view key);

  size_t mapped_bytes() const { return arena_.mapped_bytes(); }

 private:
  struct Line;

  Arena arena_;
  const uint64_t line_count_;
  // Null until prepared.
  std::atomic<Line*> lines_{nullptr};
};

}  // namespace millrace::storage
