#include "millrace/actors/store_repair.h"

#include <algorithm>
#include <set>
#include <utility>

#include "millrace/actors/writer.h"
#include "millrace/messages/repair.h"

namespace millrace {
namespace {

using storage::AuditDimension;
using storage::AuditFault;
using storage::AuditFinding;
using storage::AuditPart;
using storage::AuditReport;

// Of one message, so that a flush never waits for long.
constexpr size_t kEntriesMax = 500;
constexpr size_t kLinksMax = 200;
// What is told to be aborted, for others were in the same transaction, is sent again.
constexpr int kAttemptsMax = 3;

// What a stage finds, on its way to the Writer.
class RepairSlices {
 public:
  RepairSlices(const RepairMeans& means, RepairStage* stage) : means_(means), stage_(stage) {}

  absl::Status Add(const AuditFinding& finding) {
    if (finding.index != nullptr && finding.fault != AuditFault::kDuplicate) {
      entries_.definition = finding.index->definition;
      entries_.generation = finding.index->generations.live;
      entries_.entries.Add({.key = finding.entry});
      return entries_.entries.size() < kEntriesMax ? absl::OkStatus() : Send();
    }
    if (finding.relation != nullptr) {
      links_.relation = *finding.relation;
      links_.links.push_back({.owner = std::string(finding.ends.owner),
                              .member = std::string(finding.ends.member),
                              .owner_row = std::string(finding.owner_row)});
      return links_.links.size() < kLinksMax ? absl::OkStatus() : Send();
    }
    if (finding.fault == AuditFault::kCount) {
      return Ask(RepairCount{.collection = finding.collection,
                             .delta = -finding.count_surplus,
                             .count_repairs = finding.count_repairs});
    }
    ++stage_->left;
    return absl::OkStatus();
  }

  absl::Status Send() {
    absl::Status status;
    if (!entries_.entries.empty()) status = Ask(std::exchange(entries_, {}));
    if (status.ok() && !links_.links.empty()) status = Ask(std::exchange(links_, {}));
    return status;
  }

 private:
  template <typename M>
  absl::Status Ask(const M& message) {
    absl::StatusOr<Repaired> repaired;
    for (int attempt = 1; attempt <= kAttemptsMax; ++attempt) {
      repaired = means_.writer.Ask(M(message)).Wait(means_.timeout);
      if (!absl::IsAborted(repaired.status())) break;
    }
    if (!repaired.ok()) return repaired.status();
    stage_->put += repaired->put;
    stage_->removed += repaired->removed;
    stage_->left += repaired->left;
    return absl::OkStatus();
  }

  const RepairMeans& means_;
  RepairStage* const stage_;
  RepairEntries entries_;
  RepairLinks links_;
};

// The stages of a repair.
class StoreRepair {
 public:
  StoreRepair(const RepairMeans& means, const AuditReport& audit) : means_(means), audit_(audit) {}

  absl::StatusOr<std::vector<RepairStage>> Run(const storage::AuditOptions& options);

 private:
  void RunStages(StoreAudit& audit, bool links);
  void RunStage(StoreAudit& audit, const AuditUnit& unit, size_t part);
  bool IsWanted(const AuditUnit& unit, const AuditPart& part) const;

  const RepairMeans& means_;
  const AuditReport& audit_;
  std::vector<RepairStage> stages_;
  std::set<storage::RelationId> changed_;  // Relations whose links were mended.
};

// A link that was mended changes what a flush works out for its member: behind a fence there is
// none left that did not know.
absl::StatusOr<std::vector<RepairStage>> StoreRepair::Run(const storage::AuditOptions& options) {
  const absl::StatusOr<storage::Snapshot> snapshot = means_.take_snapshot();
  if (!snapshot.ok()) return snapshot.status();
  absl::StatusOr<StoreAudit> audit = StoreAudit::Plan(*snapshot, options);
  if (!audit.ok()) return audit.status();
  RunStages(*audit, /*links=*/true);
  if (!changed_.empty()) {
    absl::Status status = means_.flush();
    if (stages_.back().status.ok()) stages_.back().status = std::move(status);
  }
  RunStages(*audit, /*links=*/false);
  return std::move(stages_);
}

void StoreRepair::RunStages(StoreAudit& audit, bool links) {
  for (const AuditUnit& unit : audit.units()) {
    AuditUnit one{.collection = unit.collection, .relation = unit.relation, .rows = unit.rows};
    if (unit.rows.has_value() && links == unit.relation.has_value()) {
      RunStage(audit, one, *unit.rows);
    }
    one.rows.reset();
    for (size_t i = 0; !links && i < unit.indexes.size(); ++i) {
      one.indexes = {unit.indexes[i]};
      RunStage(audit, one, unit.indexes[i].second);
    }
  }
}

void StoreRepair::RunStage(StoreAudit& audit, const AuditUnit& unit, size_t part) {
  const AuditPart& planned = audit.report().parts[part];
  if (!IsWanted(unit, planned)) return;
  RepairStage stage{.dimension = planned.dimension, .id = planned.id, .name = planned.name};
  RepairSlices slices(means_, &stage);
  stage.status = audit.Run(unit, means_.take_snapshot(),
                           [&slices](const AuditFinding& finding) { return slices.Add(finding); });
  if (stage.status.ok()) stage.status = slices.Send();
  if (stage.status.ok()) stage.status = audit.report().parts[part].not_checked;
  if (planned.dimension == AuditDimension::kRelation && stage.put + stage.removed > 0) {
    changed_.insert(planned.id);
  }
  stages_.push_back(std::move(stage));
}

// What has faults, or could not be looked at.
bool StoreRepair::IsWanted(const AuditUnit& unit, const AuditPart& part) const {
  if (!unit.indexes.empty() && changed_.contains(unit.indexes.front().first.scope)) return true;
  const auto found =
      std::find_if(audit_.parts.begin(), audit_.parts.end(), [&](const AuditPart& audited) {
        return audited.dimension == part.dimension && audited.id == part.id;
      });
  if (found == audit_.parts.end()) return false;
  if (found->checked()) return found->fault_count() > 0;
  return !absl::IsFailedPrecondition(found->not_checked);
}

}  // namespace

absl::StatusOr<RepairReport> RepairStore(const RepairMeans& means,
                                         const storage::AuditOptions& options,
                                         const AuditReport* audit) {
  RepairReport report;
  if (audit != nullptr) {
    report.before = *audit;
  } else {
    absl::StatusOr<AuditReport> before = AuditStore(means.take_snapshot, options);
    if (!before.ok()) return before.status();
    report.before = *std::move(before);
  }
  absl::StatusOr<std::vector<RepairStage>> stages = StoreRepair(means, report.before).Run(options);
  if (!stages.ok()) return stages.status();
  report.stages = *std::move(stages);
  absl::StatusOr<AuditReport> after = AuditStore(means.take_snapshot, options);
  if (!after.ok()) return after.status();
  report.after = *std::move(after);
  return report;
}

}  // namespace millrace
