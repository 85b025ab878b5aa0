#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/storage/sorted_run.h"

namespace millrace::storage {

// Some keys with a version each, in the order they were added, in two allocations. Value.
class EntryBatch {
 public:
  void Add(const RunEntry& entry) {
    bytes_.append(entry.key);
    entries_.push_back({bytes_.size(), entry.version});
  }
  size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  size_t bytes() const { return bytes_.size() + entries_.size() * sizeof(Entry); }
  // Views into the batch.
  RunEntry operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : entries_[i - 1].end;
    return {std::string_view(bytes_).substr(begin, entries_[i].end - begin), entries_[i].version};
  }
  RunEntry back() const { return (*this)[size() - 1]; }

 private:
  struct Entry {
    size_t end;  // Of the key in bytes_.
    Version version;
  };
  std::string bytes_;
  std::vector<Entry> entries_;
};

}  // namespace millrace::storage
