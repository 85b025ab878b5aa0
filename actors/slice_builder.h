#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

#include "millrace/messages/flush.h"
#include "millrace/storage/environment.h"

namespace millrace {

// How large a slice grows. A closed slice of 1,000 sorted rows commits in 1 to 2 ms: short enough
// to share the device with foreground commits, long enough that its commit costs little.
struct SliceLimits {
  size_t rows_max = 1'000;
  size_t bytes_max = size_t{1} << 20;
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
