#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/messages/fence.h"
#include "millrace/messages/index_build.h"
#include "millrace/runtime/clock.h"
#include "millrace/storage/generations.h"
#include "millrace/storage/snapshot.h"
#include "millrace/storage/task_transition.h"

namespace millrace {

// What a build asks of the Rebuilder that runs it. Answers come back on its thread, unless the
// build has ended by then: then they are dropped. Owned by the Rebuilder thread.
class BuildHost {
 public:
  template <typename T>
  using Then = absl::AnyInvocable<void(absl::StatusOr<T>)>;

  virtual ~BuildHost() = default;

  // To the Writer, in order.
  virtual void ChangeTask(std::vector<storage::TaskEvent> events, Then<TaskChanged> then) = 0;
  virtual void Apply(ApplyEntries entries, Then<TaskChanged> then) = 0;
  virtual void Remove(RemoveEntries entries, Then<GenerationsRetired> then) = 0;
  // To the Committer: behind it everything is published that did not know of the generations of
  // now; and from now on, unique values are claimed in the building one, too.
  virtual void FenceBuild(Then<FlushReceipt> then) = 0;
  virtual void Enforce(const storage::GenerationState& state) = 0;

  // How many bytes of rows a transaction of the Writer's should write now: see Pacing.
  virtual uint64_t TransactionBytesMax() const = 0;

  virtual absl::StatusOr<storage::Snapshot> TakeSnapshot() = 0;
  virtual MonotonicTime Now() const = 0;
  virtual void Show(const BuildProgress& progress) = 0;
  // There is more to do: IndexBuild::Work, after requests were handled.
  virtual void WorkAgain() = 0;
  // The build cannot go on so. It may have ended when this returns, so it is the last that a step
  // does.
  virtual void Trouble(const absl::Status& cause) = 0;
};

}  // namespace millrace
