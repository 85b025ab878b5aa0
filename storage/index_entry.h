#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "millrace/storage/index_definition.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// A build of an index. Counted per index, never reused, 1 is the first; 0 is none.
using Generation = uint64_t;

// The rows of tree `index`: a key, and no value.
//
//   branch | index | generation | owner: length, bytes | value | record id
//
// The numbers are ordered integers. The owner is there in scoped indexes; else its length is 0. So
// the entries of one owner stand together, ordered by value, then id. An entry is a candidate: the
// record decides whether it still has the value.
//
// A commit puts into L0, for each value of a record that it writes, a candidate row (Tree::
// kCandidates): branch | index | value | record id. It serves every generation and every owner
// until the flush has worked out the entries.
//
// All of this file is thread-safe.

// LMDB's limit on keys, which an entry never reaches: value and ids are bounded so.
inline constexpr size_t kIndexEntryBytesMax = 511;
// Scoped entries hold two ids, as relation rows do: together at most so many bytes.
inline constexpr size_t kLinkIdsBytesMax = 350;

// The parts of an entry's key. Value; views into it.
struct IndexEntry {
  BranchId branch = kTrunk;
  IndexId index = 0;
  Generation generation = 0;
  std::string_view owner;  // Empty if not scoped.
  std::string_view value;  // Encoded: IndexKey::entry().
  std::string_view id;
};

void AppendIndexEntry(const IndexEntry& entry, std::string* out);
// DataLoss if `key` is no such key.
absl::StatusOr<IndexEntry> DecodeIndexEntry(std::string_view key);
// Of these only branch, index and generation. False if `key` does not begin with them.
bool PeekIndexEntry(std::string_view key, IndexEntry* entry);
// What all entries of a generation begin with, and all of one owner in it (or all, not scoped).
std::string IndexGenerationPrefix(BranchId branch, IndexId index, Generation generation);
std::string IndexOwnerPrefix(BranchId branch, IndexId index, Generation generation,
                             std::string_view owner);

// The L0 key of a candidate, and what all of an index begin with.
std::string CandidatePrefix(BranchId branch, IndexId index);
void AppendCandidate(BranchId branch, IndexId index, std::string_view value, std::string_view id,
                     std::string* out);

}  // namespace millrace::storage
