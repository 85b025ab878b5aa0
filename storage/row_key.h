#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace millrace::storage {

// The number of a commit. Dense: every committed batch takes the next one, the first is 1.
using Version = uint64_t;
inline constexpr Version kNoVersion = 0;

// A branch of the store: 0 is the store itself, forks count from 1. Never reused.
using BranchId = uint64_t;
inline constexpr BranchId kTrunk = 0;

// A collection. Never reused, 1 is the first.
using CollectionId = uint64_t;

// The trees whose rows commits write. The value is the first byte of an L0 key, and format.
// kCandidates is in L0 only: see index_entry.h.
enum class Tree : uint8_t { kCatalog = 1, kRecords = 2, kRelations = 3, kCandidates = 4 };

inline constexpr size_t kIdBytesMax = 255;
// The longest row key of a record: tree, branch, collection, id. Below LMDB's 511.
inline constexpr size_t kRowKeyBytesMax = 1 + 9 + 9 + kIdBytesMax;

// An order-preserving integer: one byte up to 240, nine at most. Comparing encodings as bytes
// compares the numbers (the varint of SQLite4's design).
void AppendOrderedInteger(uint64_t value, std::string* out);
// Removes one integer from the front of `in`. False if `in` does not begin with a whole one.
bool ConsumeOrderedInteger(std::string_view* in, uint64_t* value);

// A decoded row key. Value; `id` views into the encoded key.
struct RowKey {
  Tree tree = Tree::kRecords;
  BranchId branch = kTrunk;
  CollectionId collection = 0;
  std::string_view id;
};

// The encoded key of a row: tree byte, branch, collection, id. Byte order is the order of
// (tree, branch, collection, id). L0 holds it whole; an LMDB tree holds it without the tree byte.
std::string EncodeRowKey(const RowKey& key);
// The prefix that all rows of a collection share.
std::string EncodeCollectionPrefix(Tree tree, BranchId branch, CollectionId collection);
// The smallest key above every key that begins with `prefix`; empty if there is none.
std::string PrefixSuccessor(std::string_view prefix);
// DataLoss if `encoded` is not a whole row key. The result views into `encoded`.
absl::StatusOr<RowKey> DecodeRowKey(std::string_view encoded);

// InvalidArgument unless `id` has 1 to 255 bytes of valid UTF-8; the message names it.
absl::Status CheckId(std::string_view id);

// An absl::string_view of the same bytes. Debian's Abseil has a string_view of its own; this is the
// one place where the two meet in storage.
inline absl::string_view ToAbsl(std::string_view text) {
  return {text.data(), text.size()};
}
inline std::string_view FromAbsl(absl::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace millrace::storage
