#pragma once

#include "absl/status/statusor.h"

#include "millrace/actors/applier.h"
#include "millrace/messages/repair.h"
#include "millrace/storage/write_transaction.h"

namespace millrace {

// The repairs' part of the Writer's transaction. It remembers nothing. Owned by the Writer thread.
class RepairApplier final : public Applier {
 public:
  RepairApplier() = default;

  absl::StatusOr<Repaired> Apply(storage::WriteTransaction& transaction,
                                 const RepairEntries& repair);
  absl::StatusOr<Repaired> Apply(storage::WriteTransaction& transaction, const RepairLinks& repair);

  void Committed() override {}
  void Aborted() override {}
};

}  // namespace millrace
