#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "millrace/messages/index_build.h"
#include "millrace/storage/generations.h"
#include "millrace/storage/index_build.h"
#include "millrace/storage/index_definition.h"
#include "millrace/storage/index_task.h"
#include "millrace/storage/read_transaction.h"
#include "millrace/storage/snapshot.h"

namespace millrace {

// When an index wants to be built anew by itself. Value.
struct RebuildTriggers {
  // The collection has grown by more than this part since the build; 0 is never.
  double growth_ratio = 0.5;
  // The build is older than this; infinite is never.
  absl::Duration age_max = absl::InfiniteDuration();
  // A build that failed for good is left alone so long.
  absl::Duration failed_cool_down = absl::Hours(1);
};

// What an index is to those who look things up. Worked out from its rows, stored nowhere.
enum class IndexLifecycle : uint8_t {
  kOnline,    // Answers lookups.
  kStale,     // Wants to be built anew: it has grown, is old, or is not as it is defined.
  kBuilding,  // Has a build that is not at its end.
  kFailed,    // Is not as it is defined, and its last build failed for good.
};
std::string_view ToString(IndexLifecycle lifecycle);

// An index with all that is known of it. Value.
struct IndexStatus {
  storage::IndexDefinition definition;
  IndexLifecycle lifecycle = IndexLifecycle::kFailed;
  // Lookups use it, whatever the lifecycle; else they scan the collection, with the same result.
  bool serves = false;
  storage::GenerationState generations;
  std::optional<storage::IndexTask> task;  // The newest.
  std::optional<BuildProgress> progress;   // Of that, in this life of the engine.
  uint64_t record_count = 0;               // Of the collection now.
  // Why it wants to be built anew, if it does.
  std::optional<storage::BuildReason> trigger;
};

// What LMDB knows of an index: all but the progress, and what is derived.
absl::StatusOr<IndexStatus> ReadIndexStatus(const storage::ReadTransaction& transaction,
                                            const storage::IndexDefinition& definition);
// Sets lifecycle, serves and trigger.
void DeriveLifecycle(const RebuildTriggers& triggers, absl::Time now, IndexStatus* status);

// OK, or FailedPrecondition naming the indexes and relations that this version of the program
// cannot use as they are: see FormatGuard.
absl::Status CheckFormats(const storage::Snapshot& snapshot);

}  // namespace millrace
