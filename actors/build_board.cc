#include "millrace/actors/build_board.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/task_transition.h"

namespace millrace {

void BuildBoard::Show(const BuildProgress& progress) {
  absl::MutexLock lock(&mutex_);
  Entry& entry = entries_[progress.task];
  entry.progress = progress;
  Changed(entry);
}

void BuildBoard::Show(const storage::IndexTask& task) {
  absl::MutexLock lock(&mutex_);
  Entry& entry = entries_[task.id];
  entry.progress.task = task.id;
  entry.ended.reset();
  if (storage::IsFinal(task)) entry.ended = task;
  Changed(entry);
  size_t ended_count = 0;
  for (auto it = entries_.end(); it != entries_.begin();) {
    --it;
    if (it->second.ended.has_value() && ++ended_count > kEndedMax) it = entries_.erase(it);
  }
}

void BuildBoard::Close(const absl::Status& cause) {
  absl::MutexLock lock(&mutex_);
  if (closed_.ok()) closed_ = cause;
  changed_.SignalAll();
}

std::optional<BuildProgress> BuildBoard::Find(storage::TaskId task) const {
  absl::MutexLock lock(&mutex_);
  const auto found = entries_.find(task);
  if (found == entries_.end()) return std::nullopt;
  return found->second.progress;
}

absl::StatusOr<storage::IndexTask> BuildBoard::Wait(
    storage::TaskId task, absl::Duration timeout,
    absl::FunctionRef<void(const BuildProgress&)> watch) const {
  const absl::Time deadline = absl::Now() + timeout;
  uint64_t seen = 0;
  while (true) {
    std::optional<BuildProgress> progress;
    std::optional<storage::IndexTask> ended;
    {
      absl::MutexLock lock(&mutex_);
      auto found = entries_.find(task);
      while (closed_.ok() && (found == entries_.end() || found->second.change <= seen)) {
        if (changed_.WaitWithDeadline(&mutex_, deadline)) {
          return absl::DeadlineExceededError(
              absl::StrCat("index build ", task, " is still under way; it goes on"));
        }
        found = entries_.find(task);
      }
      if (found == entries_.end() || found->second.change <= seen) return closed_;
      seen = found->second.change;
      progress = found->second.progress;
      ended = found->second.ended;
    }
    watch(*progress);
    if (ended.has_value()) return *std::move(ended);
  }
}

void BuildBoard::Changed(Entry& entry) {
  entry.change = ++last_change_;
  changed_.SignalAll();
}

}  // namespace millrace
