#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

#include "millrace/messages/flush.h"
#include "millrace/storage/environment.h"

namespace millrace {

// How large a slice grows. It is the least that an LMDB commit takes: 25 rows that lie far apart
// are 25 pages to write, about as long as a group of commits. What else is queued joins them where
// the device has time for it (Pacing).
struct SliceLimits {
  size_t rows_max = 25;
  size_t bytes_max = size_t{128} << 10;
};

// Works out what a flush changes in L1: walks the sealed buffer in key order, takes of each row the
// newest state, compares with what L1 will hold when the earlier flushes are published, and cuts
// the changes into slices. A resumed job yields only what lies behind its cursor, numbered on.
// There is always a last slice, if need be an empty one. `between_slices` is called after each
// slice; its error ends the work. Other errors are LMDB's.
absl::StatusOr<std::vector<Slice>> BuildSlices(const FlushJob& job,
                                               storage::Environment& environment,
                                               const SliceLimits& limits,
                                               absl::FunctionRef<absl::Status()> between_slices);

}  // namespace millrace
