#include "millrace/runtime/timer_heap.h"

#include <algorithm>

namespace millrace {

void TimerHeap::Push(TimerId id, MonotonicTime when, Timer timer) {
  timer.order = next_order_++;
  timers_[id] = timer;
  heap_.push_back({.when = when, .order = timer.order, .id = id});
  std::push_heap(heap_.begin(), heap_.end());
}

void TimerHeap::Set(TimerId id, MonotonicTime when) {
  Push(id, when, Timer{});
}

void TimerHeap::SetPeriodic(TimerId id, MonotonicTime now, absl::Duration period, MissedTick missed,
                            FirstTick first) {
  Cancel(id);
  if (period <= absl::ZeroDuration() || period == absl::InfiniteDuration()) return;
  Push(id, first == FirstTick::kAtOnce ? now : now + period,
       Timer{.order = 0, .period = period, .missed = missed});
}

void TimerHeap::Cancel(TimerId id) {
  timers_.erase(id);
  DropStale();
}

void TimerHeap::Clear() {
  timers_.clear();
  heap_.clear();
}

void TimerHeap::DropStale() {
  const auto stale = [this](const Entry& entry) {
    const auto it = timers_.find(entry.id);
    return it == timers_.end() || it->second.order != entry.order;
  };
  while (!heap_.empty() && stale(heap_.front())) {
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.pop_back();
  }
  // Timers that are set again and again leave entries further down.
  if (heap_.size() > 2 * timers_.size() + 16) {
    heap_.erase(std::remove_if(heap_.begin(), heap_.end(), stale), heap_.end());
    std::make_heap(heap_.begin(), heap_.end());
  }
}

MonotonicTime TimerHeap::NextTick(MonotonicTime when, MonotonicTime now, const Timer& timer) {
  switch (timer.missed) {
    case MissedTick::kBurst:
      return when + timer.period;
    case MissedTick::kDelay:
      return now + timer.period;
    case MissedTick::kSkip:
      break;
  }
  absl::Duration rest;
  const int64_t passed = absl::IDivDuration(now - when, timer.period, &rest);
  return when + timer.period * (passed + 1);
}

std::optional<TimerId> TimerHeap::PopDue(MonotonicTime now) {
  DropStale();
  if (heap_.empty() || heap_.front().when > now) return std::nullopt;
  const Entry due = heap_.front();
  std::pop_heap(heap_.begin(), heap_.end());
  heap_.pop_back();
  const Timer timer = timers_[due.id];
  if (timer.period == absl::ZeroDuration()) {
    timers_.erase(due.id);
  } else {
    Push(due.id, NextTick(due.when, now, timer), timer);
  }
  return due.id;
}

MonotonicTime TimerHeap::NextDeadline() {
  DropStale();
  return heap_.empty() ? MonotonicTime::Infinite() : heap_.front().when;
}

}  // namespace millrace
