#include "millrace/actors/progress_meter.h"

#include <algorithm>

namespace millrace {
namespace {

using storage::BuildPhase;

// The phases behind this one that count as much again: of their length nothing better is known.
uint64_t PhasesToCome(BuildPhase phase) {
  if (phase <= BuildPhase::kScan) return 2;
  return phase <= BuildPhase::kMerge ? 1 : 0;
}

}  // namespace

ProgressMeter::ProgressMeter(storage::TaskId task, uint32_t attempt, absl::Duration active,
                             MonotonicTime now)
    : progress_{.task = task, .attempt = attempt}, active_(active), begin_(now), phase_begin_(now) {
}

void ProgressMeter::Begin(BuildPhase phase, uint64_t completed, uint64_t total, MonotonicTime now) {
  if (phase < progress_.phase) ++progress_.attempt;
  progress_.phase = phase;
  progress_.completed = completed;
  progress_.total = std::max(completed, total);
  completed_before_ = completed;
  phase_begin_ = now;
}

void ProgressMeter::Advance(uint64_t completed) {
  progress_.completed = std::max(progress_.completed, completed);
  progress_.total = std::max(progress_.total, progress_.completed);
}

void ProgressMeter::Finish() {
  progress_.total = progress_.completed;
}

BuildProgress ProgressMeter::At(MonotonicTime now) const {
  BuildProgress progress = progress_;
  progress.elapsed = active_ + (now - begin_);
  const double seconds = absl::ToDoubleSeconds(now - phase_begin_);
  const auto done = static_cast<double>(progress.completed - completed_before_);
  if (seconds > 0) progress.per_second = done / seconds;
  if (progress.phase == BuildPhase::kDone) {
    progress.eta = absl::ZeroDuration();
  } else if (progress.per_second > 0) {
    const uint64_t left =
        progress.total - progress.completed + PhasesToCome(progress.phase) * progress.total;
    progress.eta = absl::Seconds(static_cast<double>(left) / progress.per_second);
  }
  return progress;
}

}  // namespace millrace
