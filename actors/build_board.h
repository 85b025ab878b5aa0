#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "millrace/messages/index_build.h"

namespace millrace {

// Where the Rebuilder shows how far its builds are, for whoever looks or waits: never behind a
// callback, so a slow watcher slows nobody down. Thread-safe.
class BuildBoard {
 public:
  // Tasks that are at their end are remembered so far; older ones are in LMDB alone.
  static constexpr size_t kEndedMax = 64;

  void Show(const BuildProgress& progress);
  // The task has changed; if it is at its end, whoever waits for it is told.
  void Show(const storage::IndexTask& task);
  // Nothing changes any more: whoever waits is answered `cause`.
  void Close(const absl::Status& cause);

  // How far the build is; nothing if this life of the engine has not begun it.
  std::optional<BuildProgress> Find(storage::TaskId task) const;

  // Waits until the task is at its end, and returns it so. `watch` is called on this thread for
  // what it has missed the least of, and once more at the end. DeadlineExceeded after `timeout`
  // (real time); the task goes on.
  absl::StatusOr<storage::IndexTask> Wait(
      storage::TaskId task, absl::Duration timeout,
      absl::FunctionRef<void(const BuildProgress&)> watch) const;

 private:
  struct Entry {
    uint64_t change = 0;  // Counts up with each.
    BuildProgress progress;
    std::optional<storage::IndexTask> ended;
  };
  void Changed(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  mutable absl::CondVar changed_;
  uint64_t last_change_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<storage::TaskId, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace millrace
