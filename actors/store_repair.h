#pragma once

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "millrace/actors/repair_report.h"
#include "millrace/actors/store_audit.h"
#include "millrace/storage/audit_report.h"

namespace millrace {

class Writer;

// What a repair works with. Value.
struct RepairMeans {
  TakeSnapshot take_snapshot;
  absl::FunctionRef<absl::Status()> flush;  // Until all that is committed is in LMDB.
  Writer& writer;
  absl::Duration timeout;  // Of one message.
};

// All of a repair, as Engine::Repair promises it, on the caller's thread: for each part with faults
// a stage, which looks for them again and has the Writer look at each, a bounded message at a time.
// Relations come first, for what they say decides about scoped indexes. `audit` is of the same
// store, and some time ago, or null.
absl::StatusOr<RepairReport> RepairStore(const RepairMeans& means,
                                         const storage::AuditOptions& options,
                                         const storage::AuditReport* audit);

}  // namespace millrace
