#include "millrace/actors/build_board.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/task_transition.h"

namespace millrace {

void BuildBoard::Show(const BuildProgress& progress) {
  std::vector<Reply<News>> waiting;
  News news;
  {
    absl::MutexLock lock(&mutex_);
    News& known = news_[progress.task];
    known.progress = progress;
    waiting = Changed(known);
    if (!waiting.empty()) news = known;
  }
  for (Reply<News>& reply : waiting) reply.Send(news);
}

void BuildBoard::Show(const storage::IndexTask& task) {
  std::vector<Reply<News>> waiting;
  News news;
  {
    absl::MutexLock lock(&mutex_);
    News& known = news_[task.id];
    known.progress.task = task.id;
    known.ended.reset();
    if (storage::IsFinal(task)) known.ended = task;
    waiting = Changed(known);
    if (!waiting.empty()) news = known;
    ForgetEnded();
  }
  for (Reply<News>& reply : waiting) reply.Send(news);
}

void BuildBoard::Close(const absl::Status& cause) {
  std::map<storage::TaskId, std::vector<Reply<News>>> waiting;
  {
    absl::MutexLock lock(&mutex_);
    if (closed_.ok()) closed_ = cause;
    waiting.swap(waiting_);
  }
  for (auto& [task, replies] : waiting) {
    for (Reply<News>& reply : replies) reply.Send(cause);
  }
}

std::optional<BuildProgress> BuildBoard::Find(storage::TaskId task) const {
  absl::MutexLock lock(&mutex_);
  const auto found = news_.find(task);
  if (found == news_.end()) return std::nullopt;
  return found->second.progress;
}

absl::StatusOr<storage::IndexTask> BuildBoard::Wait(
    storage::TaskId task, absl::Duration timeout,
    absl::FunctionRef<void(const BuildProgress&)> watch) {
  const MonotonicTime deadline = WaitNow() + timeout;
  uint64_t seen = 0;
  while (true) {
    const absl::StatusOr<News> news = Next(task, seen).Wait(deadline);
    if (!news.ok() && !absl::IsDeadlineExceeded(news.status())) return news.status();
    if (news.ok()) {
      watch(news->progress);
      if (news->ended.has_value()) return *news->ended;
      seen = news->change;
    }
    if (WaitNow() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("index build ", task, " is still under way; it goes on"));
    }
  }
}

Pending<BuildBoard::News> BuildBoard::Next(storage::TaskId task, uint64_t seen) {
  auto [reply, pending] = MakeReply<News>();
  absl::MutexLock lock(&mutex_);
  const auto found = news_.find(task);
  if (found != news_.end() && found->second.change > seen) {
    reply.Send(found->second);
  } else if (!closed_.ok()) {
    reply.Send(closed_);
  } else {
    waiting_[task].push_back(std::move(reply));
  }
  return std::move(pending);
}

std::vector<Reply<BuildBoard::News>> BuildBoard::Changed(News& news) {
  news.change = ++last_change_;
  auto waiting = waiting_.extract(news.progress.task);
  if (waiting.empty()) return {};
  return std::move(waiting.mapped());
}

void BuildBoard::ForgetEnded() {
  size_t ended_count = 0;
  for (auto it = news_.end(); it != news_.begin();) {
    --it;
    if (it->second.ended.has_value() && ++ended_count > kEndedMax) it = news_.erase(it);
  }
}

}  // namespace millrace
