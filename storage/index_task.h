#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "millrace/storage/generations.h"
#include "millrace/storage/index_build.h"
#include "millrace/storage/index_definition.h"
#include "millrace/storage/sorted_run.h"

namespace millrace::storage {

// A task is one index build, from the request to its end: a row of tree `tasks`, by (index, task).
// The newest of an index is its current one. Nothing here changes a row: see task_transition.h.

// Counts up in the store, so it is also the order of asking. Never reused, 1 is the first.
using TaskId = uint64_t;

// The numbers are format; ToString gives the words "pending", "building", ...
enum class TaskState : uint8_t {
  kPending = 1,     // Waits for its turn.
  kBuilding = 2,    // Reads its source, or applies what it sorted.
  kCatchUp = 3,     // All is applied; waits until every commit of that moment is, too.
  kSwapping = 4,    // Verified; becomes the live generation.
  kPaused = 5,      // Until somebody resumes it. Keeps its resume point.
  kComplete = 6,    // The index is built.
  kFailed = 7,      // Tried again at next_attempt_at, if that is a time.
  kCancelled = 8,   // By request.
  kSuperseded = 9,  // The definition it was for is no longer the index's, or there is no index.
};
inline constexpr std::array kTaskStates = {
    TaskState::kPending,  TaskState::kBuilding,  TaskState::kCatchUp,
    TaskState::kSwapping, TaskState::kPaused,    TaskState::kComplete,
    TaskState::kFailed,   TaskState::kCancelled, TaskState::kSuperseded};

// Where in a build it stands; in this order. The numbers are format.
enum class BuildPhase : uint8_t {
  kWaiting = 1,  // Behind the fence: until every stream maintains the new generation.
  kScan = 2,     // Reads the source and sorts.
  kMerge = 3,    // Merges what is sorted and applies it.
  kCatchUp = 4,  // Behind the second fence.
  kVerify = 5,
  kDone = 6,
};

std::string_view ToString(TaskState state);
std::string_view ToString(BuildPhase phase);

inline constexpr uint64_t kMaintainedUnknown = ~uint64_t{0};

// Where a build goes on after an interruption. Value.
struct ResumePoint {
  uint64_t record_count = 0;         // Of the collection, as the scan ended.
  uint64_t source_total = 0;         // Rows of the source, as known when the scan began.
  std::string source_cursor;         // Of the source, the last row that is in a run.
  bool source_done = false;          // All of the source is.
  std::vector<RunInfo> runs;         // What is sorted.
  uint64_t next_run = 1;             // The number of the next one; never used before.
  std::string applied_cursor;        // The last entry that was applied.
  bool applied_done = false;         // All of them are.
  uint64_t applied_entry_count = 0;  // Entries that were put.
  uint64_t merged_entry_count = 0;   // Entries of the runs that were looked at.
  // Changes of the generation's entries by flushes meanwhile: how far the counts may differ.
  uint64_t maintained_count = 0;  // kMaintainedUnknown behind a restart.
  friend bool operator==(const ResumePoint&, const ResumePoint&) = default;
};

// Value.
struct IndexTask {
  TaskId id = 0;
  BuildRequest request;
  uint64_t definition = 0;    // The number of the definition it is for.
  Generation generation = 0;  // That it fills; 0 before the first attempt.
  TaskState state = TaskState::kPending;
  BuildPhase phase = BuildPhase::kWaiting;
  uint32_t attempts = 0;  // That failed.
  // Of a failed task: when it is tried again; InfiniteFuture if only somebody can have it tried.
  absl::Time next_attempt_at = absl::InfiniteFuture();
  absl::Time created_at = absl::InfinitePast();
  absl::Time started_at = absl::InfinitePast();   // The first attempt.
  absl::Time finished_at = absl::InfinitePast();  // The state is final, or the attempt failed.
  absl::Duration active;                          // Time under way, in all attempts.
  BuildCounts counts;
  ResumePoint resume;
  std::vector<DuplicateSample> samples;  // At most kDuplicateSamplesMax.
  absl::Status error;                    // Of the last attempt that failed.
  friend bool operator==(const IndexTask&, const IndexTask&) = default;
};
// Tasks that are kept of each index.
inline constexpr size_t kTasksKept = 16;

// What a build that is complete says of itself.
BuildResult ResultOf(const IndexTask& task);

// The keys of tree `tasks`: a task, what all of an index begin with, and the counter of ids.
std::string TaskKey(IndexId index, TaskId task);
std::string TaskPrefix(IndexId index);
std::string TaskCounterKey();
std::string EncodeTask(const IndexTask& task);
// DataLoss if the bytes are not a task as it was written, FailedPrecondition if a newer version
// wrote it.
absl::StatusOr<IndexTask> DecodeTask(std::string_view bytes);

}  // namespace millrace::storage
