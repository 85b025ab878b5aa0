#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

#include "millrace/runtime/clock.h"

namespace millrace {

// How much of the device maintenance may take while clients commit. The Committer notes its groups
// and the Writer its LMDB commits; the Writer asks how large the next may grow, and how long to
// leave the device alone after it. A group that comes while LMDB commits waits for it, so what
// bounds the commits' p99 is how long an LMDB commit lasts: it may take a few times as long as a
// group does on a quiet device, whatever device that is. Thread-safe.
class Pacing {
 public:
  // The share of time that LMDB commits may take while clients are at work and L0 is small. A flush
  // still ends, however busy the clients are.
  static constexpr double kShareMin = 0.1;
  // L0's part of its soft limit up to which that holds. From there the share grows, to the whole
  // at the other: then flushing is what helps the clients.
  static constexpr double kFillCalm = 0.5;
  static constexpr double kFillUnpaced = 0.9;
  // Clients are at work if a group was committed so recently.
  static constexpr absl::Duration kQuiet = absl::Milliseconds(5);
  // An LMDB commit may last so many groups while clients are at work: it syncs twice, and writes.
  static constexpr int kGroupsPerCommit = 4;
  // A transaction is committed at this size at the latest: a larger one is hardly cheaper a row.
  static constexpr uint64_t kBytesMax = uint64_t{4} << 20;

  explicit Pacing(const Clock& clock) : clock_(clock) {}

  // The Committer wrote and synced a group from `begin` until now; `l0_fill` is L0's part of its
  // soft limit. Groups that nobody waits for the device for are not noted: there is nothing to
  // protect.
  void NoteGroup(MonotonicTime begin, double l0_fill) {
    const int64_t now = clock_.Now().nanoseconds();
    last_group_.store(now, std::memory_order_relaxed);
    l0_fill_.store(l0_fill, std::memory_order_relaxed);
    if (committing_.load(std::memory_order_relaxed) ||
        begin.nanoseconds() < last_commit_.load(std::memory_order_relaxed)) {
      return;  // It shared the device.
    }
    const int64_t before = group_ns_.load(std::memory_order_relaxed);
    const int64_t group = now - begin.nanoseconds();
    group_ns_.store(before == 0 ? group : before + (group - before) / 16,
                    std::memory_order_relaxed);
  }

  // The Writer commits, from one call until the other; it wrote so many bytes of rows, which took
  // `work`.
  void BeginCommit() { committing_.store(true, std::memory_order_relaxed); }
  void EndCommit(uint64_t bytes, absl::Duration work);

  // Returns how many bytes of rows the Writer's transaction may have written before it is to be
  // committed.
  uint64_t BytesMax() const {
    return Paced() ? bytes_max_.load(std::memory_order_relaxed) : kBytesMax;
  }
  // Returns how long to pause after an LMDB commit that took `work`; zero while clients are quiet,
  // or wait for room in L0.
  absl::Duration PauseAfter(absl::Duration work) const {
    if (!Paced()) return absl::ZeroDuration();
    const double urgency =
        (l0_fill_.load(std::memory_order_relaxed) - kFillCalm) / (kFillUnpaced - kFillCalm);
    const double share = kShareMin + (1 - kShareMin) * std::clamp(urgency, 0.0, 1.0);
    return work * ((1 - share) / share);
  }

 private:
  static constexpr uint64_t kBytesMin = 1;

  bool Paced() const {
    const int64_t since = clock_.Now().nanoseconds() - last_group_.load(std::memory_order_relaxed);
    return since <= absl::ToInt64Nanoseconds(kQuiet) &&
           l0_fill_.load(std::memory_order_relaxed) <= kFillUnpaced;
  }

  const Clock& clock_;
  std::atomic<int64_t> last_group_{0};
  std::atomic<double> l0_fill_{0};
  std::atomic<int64_t> group_ns_{0};  // A moving average of those that had the device alone.
  std::atomic<bool> committing_{false};
  std::atomic<int64_t> last_commit_{0};
  std::atomic<uint64_t> bytes_max_{kBytesMin};
};

// Halves the size at most, and lets it grow by an eighth: a commit that was slow by chance costs
// little, and one that is too large lasts too long once.
inline void Pacing::EndCommit(uint64_t bytes, absl::Duration work) {
  last_commit_.store(clock_.Now().nanoseconds(), std::memory_order_relaxed);
  committing_.store(false, std::memory_order_relaxed);
  const int64_t wanted = group_ns_.load(std::memory_order_relaxed) * kGroupsPerCommit;
  uint64_t next = bytes_max_.load(std::memory_order_relaxed);
  if (absl::ToInt64Nanoseconds(work) > wanted) {
    next = std::min(next, bytes) / 2;
  } else if (bytes >= next) {
    next = std::max(next + next / 8, bytes);
  }
  bytes_max_.store(std::clamp(next, kBytesMin, kBytesMax), std::memory_order_relaxed);
}

}  // namespace millrace
