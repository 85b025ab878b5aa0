#pragma once

#include <cstdint>

#include "absl/time/time.h"

#include "millrace/messages/index_build.h"
#include "millrace/runtime/clock.h"

namespace millrace {

// Works out a build's progress from what its phases tell. Thread-compatible.
class ProgressMeter {
 public:
  // `active` is the time that earlier lives of the task were under way.
  ProgressMeter(storage::TaskId task, uint32_t attempt, absl::Duration active, MonotonicTime now);

  // A phase begins, with `completed` of `total` done by an earlier life. An earlier phase than the
  // present one begins the next attempt.
  void Begin(storage::BuildPhase phase, uint64_t completed, uint64_t total, MonotonicTime now);
  // So much is done. Less than before changes nothing; more than the total raises the total.
  void Advance(uint64_t completed);
  // The phase is at its end, whatever was expected.
  void Finish();

  BuildProgress At(MonotonicTime now) const;
  // Under way since construction.
  absl::Duration ActiveSince(MonotonicTime now) const { return now - begin_; }

 private:
  BuildProgress progress_;
  absl::Duration active_;
  MonotonicTime begin_;
  MonotonicTime phase_begin_;
  uint64_t completed_before_ = 0;  // When the phase began.
};

}  // namespace millrace
