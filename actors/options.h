#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "millrace/messages/commit.h"

namespace millrace {

// What an index or a relation of another format does to the opening of its store. A relation or an
// index that a newer version defined cannot be used, and its collections are read only until it is
// dropped. An index that another version built does not serve: lookups scan; a newer version's also
// keeps its collection read only. Building it anew mends that. Everything else is as usable as
// ever.
enum class FormatGuard : uint8_t {
  kWarn = 1,  // Each is logged.
  kFail = 2,  // The store does not open: FailedPrecondition, which names them.
};

// Everything that can be set, with unit, default and the reason for it. Checked when the store
// opens.
struct EngineOptions {
  // False: opening a directory that holds no store is NotFound, and nothing is created.
  bool create_if_missing = true;

  // Warns by default: an embedder that wants to decide before anything scans lets it fail.
  FormatGuard format_guard = FormatGuard::kWarn;

  Durability durability = Durability::kDurable;
  // kInterval commits are synced at most so much later, also when idle.
  absl::Duration sync_interval = absl::Milliseconds(100);

  // Bytes of LMDB's file that may be used; 0 is 90 % of the disk's space at open.
  uint64_t quota_bytes = 0;

  // The active buffer is rotated at any of these; 0 (bytes, rows) or infinite (interval) switches
  // one off. 32 MiB and 250,000 rows keep a flush below a second; the interval, counted from the
  // buffer's first commit, bounds what a reopen replays. Whatever is set, Flush() rotates, and so
  // does a buffer that alone reaches the soft limit.
  uint64_t rotate_bytes = uint64_t{32} << 20;
  uint64_t rotate_rows = 250'000;
  absl::Duration rotate_interval = absl::Seconds(1);
  // The interval leaves a buffer alone that has fewer rows, at least 1. More spares small flushes,
  // each of which syncs LMDB twice.
  uint64_t rotate_interval_rows_min = 1;

  // Flushes between rotation and publication, each with a streamer of its own; 1 to 16. With two,
  // one is worked out while the other is published.
  uint32_t pending_flushes_max = 2;
  // A stream that takes longer is tried again: a second is usual, a disk may stall.
  absl::Duration stream_timeout = absl::Seconds(60);
  // A flush that fails is tried again so often, 50 ms to 5 s apart: for about ten seconds. Then the
  // engine is Degraded.
  uint32_t flush_retries_max = 8;

  // Bytes of L0, retired buffers that snapshots hold and results of streams included. Past the soft
  // limit commits are delayed by a growing time, past the hard one they wait until their deadline.
  uint64_t l0_soft_bytes_max = uint64_t{96} << 20;
  uint64_t l0_hard_bytes_max = uint64_t{192} << 20;

  // A snapshot older than the first is warned about; past the second it is ended.
  absl::Duration snapshot_soft_age = absl::Minutes(1);
  absl::Duration snapshot_hard_age = absl::Minutes(10);

  // Bytes of each file of the commit log. Larger files are recycled less often and replayed longer.
  uint64_t log_file_bytes = uint64_t{64} << 20;

  // An index is stale, and with auto_rebuild built anew, when its collection has grown by more than
  // a part of what it was at the build (0: never), or the build is older than the age. Off by
  // default: entries follow every commit, so a build mends what should not need it.
  double rebuild_growth_ratio = 0.5;
  absl::Duration rebuild_age_max = absl::InfiniteDuration();
  bool auto_rebuild = false;
  // A build that fails is tried again so often, the delay doubling up to an hour. One that failed
  // for good is not triggered again before the cool-down has passed; asked for, it is.
  uint32_t rebuild_retries_max = 3;
  absl::Duration rebuild_retry_delay = absl::Seconds(60);
  absl::Duration rebuild_cool_down = absl::Hours(1);
  // Memory that a build may take beside what it reads. Entries beyond a quarter of it are sorted
  // through files in runs/.
  uint64_t rebuild_memory_bytes = uint64_t{64} << 20;

  // How long a commit may wait for its answer, and a shutdown for its actors.
  absl::Duration commit_timeout = absl::Seconds(30);
  absl::Duration shutdown_timeout = absl::Seconds(30);
};

// InvalidArgument naming the first option that makes no sense, and the range it must be in.
absl::Status CheckOptions(const EngineOptions& options);

}  // namespace millrace
