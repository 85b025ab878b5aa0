#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "millrace/storage/arena.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// One version of one row. Value; as a result it views into the buffer and is valid while that
// lives.
struct L0Row {
  std::string_view key;  // EncodeRowKey.
  Version version = kNoVersion;
  bool tombstone = false;
  std::string_view value;  // Empty for a tombstone.
};

// All versions of all rows that were written since the last rotation, ordered by key ascending,
// then version descending. One writer, any number of readers at the same time; readers take no lock
// and write nothing. A buffer is sealed by nobody inserting any more.
//
// A row can be found as soon as it is inserted. Readers ask for versions up to the published one,
// which the caller publishes (with release order) after the rows of that version are in: whoever
// has read a published version finds every row up to it.
//
// Thread-safe for one writer and many readers.
class L0Buffer {
 public:
  struct Options {
    // Sizes the filter that answers misses; more rows make it less sharp, nothing else.
    size_t expected_rows = 250'000;
    // Reserve refuses to map more than this.
    size_t bytes_max = std::numeric_limits<size_t>::max();
  };
  class Cursor;

  explicit L0Buffer(const Options& options);
  ~L0Buffer();
  L0Buffer(const L0Buffer&) = delete;
  L0Buffer& operator=(const L0Buffer&) = delete;

  // Writer only. Afterwards inserting `rows` rows with `bytes` bytes of keys and values together
  // cannot fail. ResourceExhausted if there is no memory; the buffer stays as usable as before.
  absl::Status Reserve(size_t rows, size_t bytes);

  // Writer only. Copies keys and values in, in any order; a (key, version) at most once in the life
  // of the buffer, versions from 1, keys up to 65,535 bytes. Dies beyond what was reserved if
  // memory is out. Faster with many rows a call: their searches overlap.
  void Insert(absl::Span<const L0Row> rows);

  // Any thread. The newest version of `key` that is at most `at_most`, tombstones included. False
  // and `row` untouched if there is none.
  bool Find(std::string_view key, Version at_most, L0Row* row) const;

  // Any thread. Bytes that rows, nodes and the filter take; what limits and rotation go by.
  size_t bytes() const { return arena_.used_bytes(); }
  size_t row_count() const { return row_count_.load(std::memory_order_relaxed); }
  // Lowest and highest version inserted; kNoVersion while empty.
  Version first_version() const { return first_version_.load(std::memory_order_relaxed); }
  Version last_version() const { return last_version_.load(std::memory_order_relaxed); }

 private:
  static constexpr int kHeightMax = 12;
  struct Row;
  struct Node;
  struct Target;

  static bool Less(const Node& node, const Target& target);
  // The first node at or after the target; the last node before it, or the head.
  const Node* LowerBound(const Target& target) const;
  const Node* Before(const Target& target) const;
  void InsertOne(const L0Row& row);
  int RandomHeight();

  Arena arena_;
  Node* head_ = nullptr;  // Constant after construction.
  uint64_t random_ = 0x9e3779b97f4a7c15;
  // Statistics of one writer: relaxed, nothing is published through them.
  std::atomic<size_t> row_count_{0};
  std::atomic<Version> first_version_{kNoVersion};
  std::atomic<Version> last_version_{kNoVersion};
};

// Walks a buffer: key ascending, version descending, every version. It sees at least the rows that
// were in the buffer at its last Seek. Thread-compatible: each thread its own; the buffer outlives
// it.
class L0Buffer::Cursor {
 public:
  explicit Cursor(const L0Buffer& buffer) : buffer_(buffer) {}

  // To the newest version of the first key at or above `key`; "" is the first row.
  void Seek(std::string_view key);
  // To the newest version of the last key below `key`, or of the last key of all. With row().key it
  // walks backwards, key by key.
  void SeekBefore(std::string_view key);
  void SeekToLast();
  // Require Valid(): to the next row; to the newest version of the next key.
  void Next();
  void NextKey();
  bool Valid() const { return node_ != nullptr; }
  // Requires Valid().
  L0Row row() const;

 private:
  void ToNewest();

  const L0Buffer& buffer_;
  const Node* node_ = nullptr;
};

}  // namespace millrace::storage
