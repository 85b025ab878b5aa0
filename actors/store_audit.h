#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/audit.h"
#include "millrace/storage/audit_report.h"
#include "millrace/storage/snapshot.h"

namespace millrace {

using TakeSnapshot = absl::FunctionRef<absl::StatusOr<storage::Snapshot>()>;

// All of an audit, as Engine::Audit promises it.
absl::StatusOr<storage::AuditReport> AuditStore(TakeSnapshot take_snapshot,
                                                const storage::AuditOptions& options);

// What is looked at in one snapshot: a collection with its indexes, or a relation with those that
// it scopes. So LMDB keeps the pages of no state for longer than that takes. Value.
struct AuditUnit {
  std::optional<storage::Collection> collection;
  std::optional<storage::Relation> relation;
  std::optional<size_t> rows;  // The part about records or links, if it is wanted.
  // Indexes, and their parts.
  std::vector<std::pair<storage::IndexDefinition, size_t>> indexes;
};

// An audit of a store: what there is to look at, and then the looking, on the caller's thread. It
// reads, and changes nothing. Thread-compatible.
class StoreAudit {
 public:
  using Tell = absl::FunctionRef<absl::Status(const storage::AuditFinding&)>;

  // NotFound: there is no such collection, or no such index.
  static absl::StatusOr<StoreAudit> Plan(const storage::Snapshot& snapshot,
                                         const storage::AuditOptions& options);

  const std::vector<AuditUnit>& units() const { return units_; }
  const storage::AuditReport& report() const { return report_; }
  // Looks at one unit, and tells each fault. What cannot be looked at is said in its part; the
  // error is that of `tell`, which ends the unit.
  absl::Status Run(const AuditUnit& unit, const absl::StatusOr<storage::Snapshot>& snapshot,
                   Tell tell);

 private:
  explicit StoreAudit(const storage::AuditOptions& options) : options_(options) {}

  absl::Status Add(const storage::Snapshot& snapshot);
  size_t AddPart(storage::AuditDimension dimension, uint64_t id, std::string name);
  using Names = std::map<storage::CollectionId, std::string>;
  void AddIndexes(const std::vector<storage::IndexInfo>& indexes, const std::string& collection,
                  storage::RelationId scope, AuditUnit* unit);
  void AddUnreadable(const storage::Relation& relation, const absl::Status& cause,
                     const std::vector<storage::IndexInfo>& indexes, const Names& names);
  absl::Status Look(const AuditUnit& unit, const storage::AuditScope& scope);

  storage::AuditOptions options_;
  storage::AuditReport report_;
  std::vector<AuditUnit> units_;
};

}  // namespace millrace
