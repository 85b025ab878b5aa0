#pragma once

#include <map>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/actors/applier.h"
#include "millrace/messages/flush.h"
#include "millrace/messages/repair.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/generations.h"
#include "millrace/storage/meta.h"

namespace millrace {

// The flushes' part of the Writer's transaction: applies slices, and keeps the flush row, the
// manifests and the head with them. Knows at any time where L1 stands durably and where it will
// stand when the open transaction is committed. Owned by the Writer thread.
class SliceApplier final : public Applier {
 public:
  // Manifests kept besides the head.
  static constexpr uint64_t kManifestsKept = 64;

  explicit SliceApplier(storage::Environment& environment) : environment_(environment) {}

  // Reads where L1 stands. Once, before the first Apply.
  absl::Status Load();

  // Applies one slice. Aborted, with nothing written: it is not the next slice.
  absl::StatusOr<SliceApplied> Apply(storage::WriteTransaction& transaction,
                                     const ApplySlice& slice);
  // Mends a count of the head. Aborted, with nothing written: another repair came before.
  absl::StatusOr<Repaired> Apply(storage::WriteTransaction& transaction, const RepairCount& repair);
  // Whether the open transaction is between two slices of one flush.
  bool flush_under_way() const { return pending_.flush.has_value(); }
  void Committed() override;
  void Aborted() override;

  const storage::L1State& durable() const { return durable_; }

 private:
  absl::Status CheckNext(const ApplySlice& slice) const;
  absl::Status ApplyDerived(storage::WriteTransaction& transaction, const Slice& slice);
  absl::StatusOr<bool> IsWanted(const storage::WriteTransaction& transaction,
                                std::string_view entry_key);
  absl::Status AdvanceFlushRow(storage::WriteTransaction& transaction, const ApplySlice& slice);
  absl::Status Publish(storage::WriteTransaction& transaction, const ApplySlice& slice);

  storage::Environment& environment_;
  storage::L1State durable_;
  storage::L1State pending_;  // With the open transaction.
  // As the open transaction has them; none: the index has no row.
  std::map<storage::IndexId, std::optional<storage::GenerationState>> generations_;
  // For the quota's measured growth: of the flush under way, if this life began it, and what its
  // publication will tell.
  std::optional<int64_t> used_before_flush_;
  std::optional<uint64_t> published_l0_bytes_;
};

}  // namespace millrace
