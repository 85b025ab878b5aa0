#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace millrace::storage {

// What can be wrong with what is derived from records, and with links.
enum class AuditFault : uint8_t {
  kObjectMissing,  // An entry of a record that is not there.
  kValueMismatch,  // An entry with a value that its record does not have.
  kForeignOwner,   // Of a scoped index: an entry under an owner that the record is no member of.
  kMissing,        // A record has a value and no entry, so that lookups do not find it.
  kWrongOwner,     // The same, and the unique value leads to a record that does not have it.
  kDuplicate,      // A record has a unique value that another one has, too.
  kOneSided,       // A link with one row, or with two that do not say the same.
  kEndMissing,     // A link with an owner, or a member, that is not there; counted for each row.
  kCount,          // Records that the store's count has too many, or too few.
  kUnreadable,     // A damaged row. What hangs on it cannot be judged.
};
inline constexpr size_t kAuditFaults = 10;
std::string_view ToString(AuditFault fault);

enum class AuditDimension : uint8_t { kRecords, kUniqueIndex, kMultiIndex, kRelation };
std::string_view ToString(AuditDimension dimension);

// What an audit says of one collection's records and their count, of one index, of one relation.
// Value.
struct AuditPart {
  AuditDimension dimension = AuditDimension::kRecords;
  uint64_t id = 0;   // Of the collection, the index or the relation.
  std::string name;  // "people", "people.city", "team".
  // OK: it was checked. Else why it was not, or not to the end, and nothing below means much.
  // FailedPrecondition: there is nothing to check, or not yet.
  absl::Status not_checked = absl::UnknownError("it was not reached");
  uint64_t examined = 0;  // Records, entries, or rows of links.
  std::array<uint64_t, kAuditFaults> faults = {};
  // Differences that a flush under way explains: it brings the rest with its next slices.
  uint64_t under_way = 0;
  // Of records: by how much the store's count is above them.
  int64_t count_surplus = 0;
  std::vector<std::string> samples;  // Sentences, each about one fault.

  bool checked() const { return not_checked.ok(); }
  uint64_t count(AuditFault fault) const { return faults[static_cast<size_t>(fault)]; }
  uint64_t fault_count() const;
};

// What an audit found. Value.
struct AuditReport {
  std::vector<AuditPart> parts;

  uint64_t fault_count() const;
  // Nothing is wrong with what was checked.
  bool healthy() const { return fault_count() == 0; }
  // Everything was checked, and nothing was under way.
  bool complete() const;
};

// What is to be audited. Value.
struct AuditOptions {
  std::string collection;   // Its records, its indexes and the relations that join it; empty: all.
  std::string index;        // With a collection: of its parts only the index of this name.
  size_t samples_max = 10;  // Of each part.
};

}  // namespace millrace::storage
