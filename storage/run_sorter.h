#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "millrace/storage/sorted_run.h"

namespace millrace::storage {

// Collects entries in any order and writes them out as one sorted run: the memory half of an
// external sort. Thread-compatible.
class RunSorter {
 public:
  // It is full once what it holds, for each entry its key and 24 bytes, takes `bytes_max` (at most
  // 1 GiB). What still comes then, the rest of one record's entries, is taken all the same.
  explicit RunSorter(size_t bytes_max);

  void Add(const RunEntry& entry);
  bool full() const { return bytes() >= bytes_max_; }
  bool empty() const { return items_.empty(); }
  size_t entry_count() const { return items_.size(); }
  size_t bytes() const { return bytes_.size() + items_.size() * sizeof(Item); }

  // Sorts what was added and writes it as a run; empty afterwards.
  absl::StatusOr<RunInfo> WriteRun(RunDirectory& directory, const RunId& run, bool sync);
  void Clear();

 private:
  // Eight bytes of the key behind what all keys share decide most comparisons without a look at
  // the keys themselves.
  struct Item {
    uint64_t slice;
    uint32_t offset;  // In bytes_: version, then the key.
    uint32_t key_size;
  };
  static_assert(sizeof(Item) == 16);

  RunEntry EntryOf(const Item& item) const;
  void Sort();

  const size_t bytes_max_;
  std::string bytes_;
  std::vector<Item> items_;
  size_t shared_ = 0;  // Bytes that all keys begin with.
};

}  // namespace millrace::storage
