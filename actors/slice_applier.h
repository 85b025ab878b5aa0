#pragma once

#include <cstddef>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/messages/flush.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/meta.h"

namespace millrace {

// What the Writer does to L1: applies slices in one open transaction and keeps the flush row, the
// manifests and the head with them. Knows at any time where L1 stands durably and where it will
// stand when the open transaction is committed. Owned by the Writer thread.
class SliceApplier {
 public:
  // Manifests kept besides the head.
  static constexpr uint64_t kManifestsKept = 64;

  SliceApplier(storage::Environment& environment, storage::WritePermit permit)
      : environment_(environment), permit_(std::move(permit)) {}

  // Reads where L1 stands. Once, before the first Apply.
  absl::Status Load();

  // Applies one slice in the open transaction, beginning one if there is none. Aborted: it is not
  // the next slice; the transaction stays as it was. Any other error: the transaction is gone.
  absl::StatusOr<SliceApplied> Apply(const ApplySlice& slice);

  // Makes durable what was applied. On an error all of it is gone, except that the outcome is
  // unknown where storage::GetCommitFailure says so.
  absl::Status Commit();
  // Forgets what was applied since the last Commit.
  void Abort();

  bool open() const { return transaction_.has_value(); }
  size_t row_count() const { return row_count_; }
  const storage::L1State& durable() const { return durable_; }

 private:
  absl::Status CheckNext(const ApplySlice& slice) const;
  absl::Status ApplyRows(const ApplySlice& slice);
  absl::Status AdvanceFlushRow(const ApplySlice& slice);
  absl::Status Publish(const ApplySlice& slice);

  storage::Environment& environment_;
  storage::WritePermit permit_;
  storage::L1State durable_;
  storage::L1State pending_;  // With the open transaction.
  std::optional<storage::WriteTransaction> transaction_;
  size_t row_count_ = 0;
  // For the quota's measured growth: of the flush under way, and what its publication will tell.
  int64_t used_before_flush_ = 0;
  std::optional<uint64_t> published_l0_bytes_;
};

}  // namespace millrace
