#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "millrace/storage/generations.h"
#include "millrace/storage/index_definition.h"
#include "millrace/storage/index_value.h"
#include "millrace/storage/relation.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// What is looked up in an index. The values: `equal`, or text that begins with `prefix`, or those
// from `from` on and below `to`; nothing said is all of them. The bounds of a range are of one
// type, and so is what is found: a bound that is not set is the end of the type. Value.
struct IndexQuery {
  std::optional<IndexValue> equal;
  std::optional<std::string> prefix;
  std::optional<IndexValue> from;
  std::optional<IndexValue> to;
  std::string owner;     // Of a scoped index: whose members. Else empty.
  bool reverse = false;  // From the highest value down.
  uint64_t limit = std::numeric_limits<uint64_t>::max();
  uint64_t offset = 0;   // So many are passed over first. That costs as much as to visit them.
  std::string after;     // FoundPage::next of the page before; empty: from the start.
  bool may_scan = true;  // False: FailedPrecondition where there is no build to answer from.
};

// How a lookup ended. Value.
struct FoundPage {
  uint64_t count = 0;    // Records that were visited.
  std::string next;      // Where the next page begins; empty: there is no more.
  bool scanned = false;  // No build of the index was there: the records were gone through instead.
};

// Which members of an owner, or owners of a member. Value.
struct LinkQuery {
  bool reverse = false;
  bool staged = false;  // The links that are prepared, instead of those that count.
  uint64_t limit = std::numeric_limits<uint64_t>::max();
  uint64_t offset = 0;  // So many are passed over first. That costs as much as to visit them.
  std::string after;    // FoundPage::next of the page before; empty: from the start.
};

// One link as a visitor sees it; views end with the call. Value.
struct LinkRef {
  std::string_view owner;
  std::string_view member;
  Version version = kNoVersion;
  LinkData data;
};

// A value of a record in an index, as introspection shows it. Value.
struct IndexedValue {
  IndexDefinition index;
  IndexValue value;
  std::string owner;       // Of a scoped index: there is one of these for each owner.
  bool has_entry = false;  // Lookups find the record by its entry. False: they scan, or miss it.
};

// A relation as a list shows it. Value.
struct RelationInfo {
  Relation relation;    // If it cannot be read: number and name alone.
  absl::Status status;  // Not OK: why the relation cannot be used.
};

// An index as a list shows it. Value.
struct IndexInfo {
  IndexDefinition definition;  // If it cannot be read: collection and name alone.
  absl::Status status;         // Not OK: why the index cannot be used.
  GenerationState generations;
  bool complete = false;  // What is live fulfils the definition.
};

}  // namespace millrace::storage
