#include "millrace/storage/audit_report.h"

#include <algorithm>
#include <numeric>

namespace millrace::storage {

std::string_view ToString(AuditFault fault) {
  switch (fault) {
    case AuditFault::kObjectMissing:
      return "object missing";
    case AuditFault::kValueMismatch:
      return "value mismatch";
    case AuditFault::kForeignOwner:
      return "foreign owner";
    case AuditFault::kMissing:
      return "missing";
    case AuditFault::kWrongOwner:
      return "wrong owner";
    case AuditFault::kDuplicate:
      return "duplicate";
    case AuditFault::kOneSided:
      return "one-sided";
    case AuditFault::kEndMissing:
      return "end missing";
    case AuditFault::kCount:
      return "count";
    case AuditFault::kUnreadable:
      return "unreadable";
  }
  return "unknown";
}

std::string_view ToString(AuditDimension dimension) {
  switch (dimension) {
    case AuditDimension::kRecords:
      return "records";
    case AuditDimension::kUniqueIndex:
      return "unique index";
    case AuditDimension::kMultiIndex:
      return "multi index";
    case AuditDimension::kRelation:
      return "relation";
  }
  return "unknown";
}

uint64_t AuditPart::fault_count() const {
  return std::accumulate(faults.begin(), faults.end(), uint64_t{0});
}

uint64_t AuditReport::fault_count() const {
  uint64_t count = 0;
  for (const AuditPart& part : parts) count += part.fault_count();
  return count;
}

bool AuditReport::complete() const {
  return std::all_of(parts.begin(), parts.end(),
                     [](const AuditPart& part) { return part.checked() && part.under_way == 0; });
}

}  // namespace millrace::storage
