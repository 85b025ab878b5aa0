#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

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

// A row as it lies in the arena of a buffer: this header, then the key's and the value's bytes.
// Constant once it is in the tree, so thread-safe.
struct L0StoredRow {
  Version version;
  uint32_t value_size;
  uint16_t key_size;
  bool tombstone;

  const char* bytes() const { return reinterpret_cast<const char*>(this + 1); }
  std::string_view key() const { return {bytes(), key_size}; }
  L0Row row() const { return {key(), version, tombstone, {bytes() + key_size, value_size}}; }
};

// A place in the order of a buffer: key ascending, version descending. Value; views into the key.
struct L0Target {
  std::string_view key;
  Version version;
};

inline bool Less(const L0StoredRow& row, const L0Target& target) {
  const int order = row.key().compare(target.key);
  return order != 0 ? order < 0 : row.version > target.version;
}

// Eight bytes of a key from `skip` on as a number that orders as they do; a key that ends before is
// padded with zeroes, so equal numbers decide nothing. `skip` is at most the key's size.
inline uint64_t KeySlice(std::string_view key, size_t skip) {
  uint64_t value = 0;
  if (key.size() - skip >= sizeof value) {
    memcpy(&value, key.data() + skip, sizeof value);
  } else if (key.size() != skip) {
    memcpy(&value, key.data() + skip, key.size() - skip);
  }
  return __builtin_bswap64(value);
}

}  // namespace millrace::storage
