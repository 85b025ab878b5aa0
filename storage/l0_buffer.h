#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "millrace/storage/arena.h"
#include "millrace/storage/key_filter.h"
#include "millrace/storage/l0_row.h"
#include "millrace/storage/l0_tree.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

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
    // Reserve refuses to map more than this, for rows and nodes each.
    size_t bytes_max = std::numeric_limits<size_t>::max();
  };
  class Cursor;

  // Maps nothing before the first Reserve or Insert.
  explicit L0Buffer(const Options& options);
  L0Buffer(const L0Buffer&) = delete;
  L0Buffer& operator=(const L0Buffer&) = delete;

  // Writer only. Afterwards inserting `rows` rows with `bytes` bytes of keys and values together
  // cannot fail; a later Reserve counts from there, they do not add up. ResourceExhausted if there
  // is no memory: the buffer stays as usable as before, and what was reserved before stays
  // reserved.
  absl::Status Reserve(size_t rows, size_t bytes);

  // Writer only. Copies keys and values in, in any order; a (key, version) at most once in the life
  // of the buffer, versions from 1, keys up to 65,535 bytes. Dies beyond what was reserved if
  // memory is out. Faster with many rows a call: their searches overlap.
  void Insert(absl::Span<const L0Row> rows);

  // Any thread. The newest version of `key` that is at most `at_most`, tombstones included. False
  // and `row` untouched if there is none.
  bool Find(std::string_view key, Version at_most, L0Row* row) const;

  // Any thread. Bytes that rows and nodes take, exactly: what limits and rotation go by. The filter
  // is not in it: it is there from the first row on and does not grow.
  size_t bytes() const { return rows_.used_bytes() + tree_.arena().used_bytes(); }
  // Any thread. Bytes mapped for all of it.
  size_t mapped_bytes() const {
    return rows_.mapped_bytes() + tree_.arena().mapped_bytes() + filter_.mapped_bytes();
  }
  size_t row_count() const { return row_count_.load(std::memory_order_relaxed); }
  // Lowest and highest version inserted; kNoVersion while empty.
  Version first_version() const { return first_version_.load(std::memory_order_relaxed); }
  Version last_version() const { return last_version_.load(std::memory_order_relaxed); }

 private:
  const L0StoredRow* Copy(const L0Row& row);

  Arena rows_;
  L0Tree tree_;
  KeyFilter filter_;
  bool prepared_ = false;  // Writer only: the filter has its memory.
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
  explicit Cursor(const L0Buffer& buffer) : tree_(buffer.tree_) {}

  // To the newest version of the first key at or above `key`; "" is the first row.
  void Seek(std::string_view key);
  // To the newest version of the last key below `key`, or of the last key of all. With row().key it
  // walks backwards, key by key.
  void SeekBefore(std::string_view key);
  void SeekToLast();
  // Require Valid(): to the next row; to the newest version of the next key.
  void Next();
  void NextKey();
  bool Valid() const { return place_.leaf != nullptr; }
  // Requires Valid().
  L0Row row() const { return place_.row().row(); }

 private:
  void ToNewest();

  const L0Tree& tree_;
  L0Tree::Place place_;
};

}  // namespace millrace::storage
