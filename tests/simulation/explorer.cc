#include "tests/simulation/explorer.h"

#include <utility>

namespace millrace::testing {

std::string Explorer::Explore(absl::FunctionRef<Threads()> make,
                              absl::FunctionRef<std::string()> check) {
  current_ = this;
  do {
    ++run_count_;
    RunOnce(make());
    if (failure_.empty()) failure_ = check();
  } while (failure_.empty() && NextOrder());
  threads_.clear();
  current_ = nullptr;
  return failure_;
}

void Explorer::Fail(const std::string& what) {
  if (current_->failure_.empty()) current_->failure_ = what;
}

void Explorer::Sleep(const void* word) {
  current_->threads_[current_->running_].asleep_on = word;
  Fiber::Suspend();
  if (current_->ending_) throw Ended();
}

void Explorer::Wake(const void* word, bool all) {
  for (Thread& thread : current_->threads_) {
    if (thread.asleep_on != word) continue;
    thread.asleep_on = nullptr;
    if (!all) return;
  }
}

void Explorer::RunOnce(Threads bodies) {
  threads_.clear();
  depth_ = 0;
  running_ = 0;
  ending_ = false;
  for (auto& body : bodies) {
    threads_.push_back({std::make_unique<Fiber>([body = std::move(body)]() mutable {
      try {
        body();
      } catch (const Ended&) {
      }
    })});
  }
  int preemptions = 0;
  for (;;) {
    std::vector<size_t> able;  // The running one first: to go on with it is no preemption.
    if (CanRun(running_)) able.push_back(running_);
    const bool may_preempt = able.empty() || preemptions < preemptions_max_;
    for (size_t i = 0; i < threads_.size(); ++i) {
      if (i != running_ && may_preempt && CanRun(i)) able.push_back(i);
    }
    if (able.empty()) break;
    const bool preempts = able[0] == running_;
    const size_t next = able[Choose(able.size())];
    if (preempts && next != running_) ++preemptions;
    running_ = next;
    threads_[running_].fiber->Resume();
  }
  EndSleepers();
}

// Nobody will wake those who still sleep.
void Explorer::EndSleepers() {
  ending_ = true;
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (threads_[i].fiber->ended()) continue;
    Fail("thread " + std::to_string(i) + " sleeps for ever");
    running_ = i;
    while (!threads_[i].fiber->ended()) threads_[i].fiber->Resume();
  }
}

size_t Explorer::Choose(size_t count) {
  if (depth_ == choices_.size()) choices_.push_back({.count = count});
  return choices_[depth_++].taken;
}

bool Explorer::NextOrder() {
  choices_.resize(depth_);
  while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().count) {
    choices_.pop_back();
  }
  if (choices_.empty()) return false;
  ++choices_.back().taken;
  return true;
}

}  // namespace millrace::testing
