#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/audit_report.h"
#include "millrace/storage/collection.h"
#include "millrace/storage/marks.h"
#include "millrace/storage/relation.h"
#include "millrace/storage/row_view.h"

namespace millrace::storage {

// One fault, for whoever mends it. Views end with the call. Value.
struct AuditFinding {
  AuditFault fault = AuditFault::kMissing;
  // Of an index: which, and the key of the entry that is there, or should be.
  const MarkedIndex* index = nullptr;
  std::string_view entry;
  // Of a link: its ends, and its row by the owner if that is the row which was found.
  const Relation* relation = nullptr;
  LinkEnds ends;
  std::string_view owner_row;  // As tree `relations` has it; or empty.
  // Of a count: the collection, by how much it is too high, and the head's count_repairs.
  CollectionId collection = 0;
  int64_t count_surplus = 0;
  uint64_t count_repairs = 0;
};

// What an audit reads, and to whom it tells each fault. Value.
struct AuditScope {
  const RowView& view;                                        // As LiveView says.
  absl::FunctionRef<absl::Status()> ended;                    // Asked between rows; its error
  absl::FunctionRef<absl::Status(const AuditFinding&)> tell;  // ends the audit, and so does this.
  size_t samples_max = 10;
};

// An audit compares what LMDB holds in one read transaction: both ways, by sums of hashes
// (KeyLedger), and only where these differ row by row. So it takes a fixed amount of memory (and
// the whole values of a unique index that share their first kIndexTextBytesMax bytes). While a
// flush is between two slices, an index of the collection is still exact, for what follows from a
// record comes with it; links, scoped indexes and the uniqueness of values are not, so what the
// flush is about is left out there (AuditPart::under_way).

// An index of the audit, and what is to be said of it.
struct AuditedIndex {
  MarkedIndex index;  // With its generations.
  AuditPart* part;
};

// The records of a collection: that they can be read, that the store counts them right, and the
// entries of indexes that are not scoped. `records` may be null: only the indexes are of interest.
absl::Status AuditCollection(const AuditScope& scope, const Collection& collection,
                             std::vector<AuditedIndex> indexes, AuditPart* records);
// The links of a relation, and the entries of indexes that are scoped by it. `links` may be null.
absl::Status AuditRelation(const AuditScope& scope, const Relation& relation,
                           std::vector<AuditedIndex> indexes, AuditPart* links);

// An index as LMDB has it, if it can be audited; else why not. FailedPrecondition: there is nothing
// to compare, or not yet.
absl::StatusOr<MarkedIndex> FindAuditable(const RowView& view, const IndexDefinition& index);

}  // namespace millrace::storage
