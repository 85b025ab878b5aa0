#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "millrace/storage/index_task.h"

namespace millrace::storage {

// The life of a task as a pure function: what can happen to it, when, and what it is then. The
// Writer applies it to the row in the transaction that makes it so, and nobody else does.
//
//   pending --begin--> building --applied--> catch-up --verified--> swapping --flipped--> complete
//      ^                  | restart: building, a new generation                              (end)
//      |<---interrupt-----|<---------------------|<---------------------|
//      |<-resume- paused <|---pause--------------|----------------------|        (pending too)
//      |<-due, retry- failed <---fail------------|----------------------|
//   cancel, supersede: from everywhere but the ends --> cancelled, superseded (ends)

// What happens to a task. Value. Each kind names the other fields that it takes.
struct TaskEvent {
  enum class Kind : uint8_t {
    kBegin = 1,      // An attempt: generation. If it is not the task's, the build begins anew.
    kSorted = 2,     // More of the source is in runs, or runs were merged: resume, counts.
    kApplied = 3,    // More entries are applied: resume.
    kVerified = 4,   // counts, samples.
    kFlipped = 5,    // The generation is live.
    kRestart = 6,    // What was sorted is lost: generation is a new one.
    kFail = 7,       // error, next_attempt_at, samples, counts.
    kInterrupt = 8,  // The engine stops or has stopped: goes on later where it was.
    kDue = 9,        // It is time for the next attempt.
    kRetry = 10,     // Somebody wants the next attempt now: reset.
    kPause = 11,
    kResume = 12,
    kCancel = 13,
    kSupersede = 14,
  };
  Kind kind = Kind::kBegin;
  absl::Time now = absl::InfinitePast();
  // Of what the builder tells, from kSorted to kInterrupt: the generation that it fills. If the
  // task fills another one meanwhile, the event is refused.
  Generation expected_generation = 0;
  Generation generation = 0;  // kBegin, kRestart.
  absl::Duration active;      // Under way since the attempt began; with all that end it.
  ResumePoint resume;
  BuildCounts counts;
  std::vector<DuplicateSample> samples;
  absl::Status error;
  absl::Time next_attempt_at = absl::InfiniteFuture();  // Infinite: only kRetry begins another.
  bool reset = false;  // kRetry: also of a task that used up its attempts, whose count is cleared.
};
inline constexpr int kTaskEventKinds = 14;
std::string_view ToString(TaskEvent::Kind kind);
// For messages, which carry several.
std::vector<TaskEvent> One(TaskEvent event);

// The task behind the event. FailedPrecondition naming task, state and event if it cannot happen to
// it (the answer to a request that comes too late); Aborted if it is about another generation.
absl::StatusOr<IndexTask> Advance(const IndexTask& task, const TaskEvent& event);

// A build is under way: it has a generation that is building.
bool IsUnderWay(TaskState state);
// Nothing but a retry with reset happens to it any more.
bool IsFinal(const IndexTask& task);
// The generation, if the task has one, is kept for an attempt that goes on where this one ended.
bool KeepsGeneration(const IndexTask& task);

// Of an index's tasks, ascending, the final ones beyond the kTasksKept newest.
std::vector<TaskId> TasksToForget(absl::Span<const IndexTask> tasks);

}  // namespace millrace::storage
