#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/actors/engine.h"

namespace millrace {

// Going through many records at leisure: to look at each, or to keep house. The records are read in
// batches, each in a snapshot of its own that has ended when the first of the batch is visited. So
// a walk holds one batch in memory and nothing in the store, its visitor may take any time, commit,
// and change what is walked, and no snapshot grows too old. What one sees is therefore not one
// version of the store: a record that comes or goes meanwhile may be met or not, and one that moves
// forward in the walk's order is met again.

// What a visitor did with a record.
enum class Visited : uint8_t {
  kSame,     // Looked at it.
  kChanged,  // Has changed it.
  kStop,     // Wants no more.
};

// Value.
struct WalkOptions {
  size_t batch_size = 500;                                // Records that are read at once.
  uint64_t limit = std::numeric_limits<uint64_t>::max();  // Records that are visited.
};

// How a walk went. Value.
struct WalkStats {
  uint64_t scanned = 0;   // Records that were visited.
  uint64_t modified = 0;  // Of these, changed.
  uint64_t errors = 0;    // Of these, the visitor failed. The walk went on.
  std::string first_error_id;
  absl::Status first_error;
};

// An error of the visitor's, or an exception, is about its record alone.
using RecordVisitor = absl::FunctionRef<absl::StatusOr<Visited>(const storage::Record&)>;

// The records of a collection, by id. InvalidArgument: a batch of nothing. Otherwise errors of
// reading alone: DataLoss names a damaged record; what was visited before stays done.
absl::StatusOr<WalkStats> WalkRecords(Engine& engine, const storage::Collection& collection,
                                      const WalkOptions& options, RecordVisitor visit);

// The records that a lookup finds, in its order, from its `after` on; its limit counts for nothing.
// An index that is not built is scanned once for each batch, unless the query forbids it. Errors:
// Snapshot::Find.
struct FoundRecords {
  const storage::IndexDefinition& index;
  storage::IndexQuery query;
};
absl::StatusOr<WalkStats> WalkRecords(Engine& engine, const FoundRecords& found,
                                      const WalkOptions& options, RecordVisitor visit);

}  // namespace millrace
