#pragma once

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

#include "millrace/runtime/clock.h"

namespace millrace {

// How much of the device maintenance may take while clients commit. The Committer notes its groups;
// the Writer asks, after each of its commits, how long to leave the device alone. Thread-safe.
class Pacing {
 public:
  // The share of time that LMDB commits may take while clients are at work, in percent. Above it
  // they would multiply the commits' p99; a flush still ends, however busy the clients are.
  static constexpr int kBusySharePercent = 50;
  // Clients are at work if a group was committed so recently.
  static constexpr absl::Duration kQuiet = absl::Milliseconds(5);

  explicit Pacing(const Clock& clock) : clock_(clock) {}

  // The Committer committed a group just now; `l0_fill` is L0's part of its soft limit.
  void NoteGroup(double l0_fill) {
    last_group_.store(clock_.Now().nanoseconds(), std::memory_order_relaxed);
    l0_fill_.store(l0_fill, std::memory_order_relaxed);
  }

  // How long to pause after an LMDB commit that took `work`. Nothing while clients are quiet, and
  // nothing when L0 nears its soft limit: then flushing is what helps them.
  absl::Duration PauseAfter(absl::Duration work) const {
    const int64_t since = clock_.Now().nanoseconds() - last_group_.load(std::memory_order_relaxed);
    if (since > absl::ToInt64Nanoseconds(kQuiet)) return absl::ZeroDuration();
    if (l0_fill_.load(std::memory_order_relaxed) > kFillUnpaced) return absl::ZeroDuration();
    return work * (100 - kBusySharePercent) / kBusySharePercent;
  }

 private:
  static constexpr double kFillUnpaced = 0.75;

  const Clock& clock_;
  std::atomic<int64_t> last_group_{0};
  std::atomic<double> l0_fill_{0};
};

}  // namespace millrace
