#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "millrace/messages/index_build.h"
#include "millrace/runtime/reply.h"

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

  // Waits until the task is at its end, and returns it so. `watch` is called on this thread with
  // the newest there is, again and again, and once more at the end. DeadlineExceeded after
  // `timeout`; the task goes on.
  absl::StatusOr<storage::IndexTask> Wait(storage::TaskId task, absl::Duration timeout,
                                          absl::FunctionRef<void(const BuildProgress&)> watch);

 private:
  // What is known of a task.
  struct News {
    uint64_t change = 0;  // Counts up with each.
    BuildProgress progress;
    std::optional<storage::IndexTask> ended;
  };

  // Answered as soon as something has changed since `seen`; 0: if anything is known.
  Pending<News> Next(storage::TaskId task, uint64_t seen);
  // Who waits for the task, to be answered behind the lock.
  std::vector<Reply<News>> Changed(News& news) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetEnded() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  uint64_t last_change_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<storage::TaskId, News> news_ ABSL_GUARDED_BY(mutex_);
  std::map<storage::TaskId, std::vector<Reply<News>>> waiting_ ABSL_GUARDED_BY(mutex_);
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace millrace
