#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "millrace/storage/audit_report.h"

namespace millrace {

// What a repair did about one part of the audit. Value.
struct RepairStage {
  storage::AuditDimension dimension = storage::AuditDimension::kRecords;
  uint64_t id = 0;
  std::string name;
  uint64_t put = 0;      // Rows that were missing or wrong; counts that were.
  uint64_t removed = 0;  // Rows that nothing bears out.
  uint64_t left = 0;     // What had become right meanwhile, or what nobody can tell.
  absl::Status status;   // OK, or why it is not done; the other stages are.
};

// What a repair found, did, and left behind. Value.
struct RepairReport {
  storage::AuditReport before;
  std::vector<RepairStage> stages;  // For each part with faults, in the order of the work.
  storage::AuditReport after;

  // Every stage was done.
  bool done() const {
    return std::all_of(stages.begin(), stages.end(),
                       [](const RepairStage& stage) { return stage.status.ok(); });
  }
};

}  // namespace millrace
