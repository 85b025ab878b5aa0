#pragma once

#include <cstdint>

#include "millrace/runtime/actor_metrics.h"

namespace millrace {

// The flush pipeline as it is now, and since the open. Value.
struct FlushStatus {
  uint64_t pending = 0;  // Rotated and not published.
  uint64_t rotated = 0;  // Since the open, as all that follow.
  uint64_t published = 0;
  uint64_t skipped = 0;        // Buffers that were due while no flush was free; rotated later.
  uint64_t retried = 0;        // Attempts that failed and were followed by another.
  uint64_t abandoned = 0;      // Flushes that came back: failed too often, or behind one that did.
  uint64_t timeouts = 0;       // Streams that took too long.
  uint64_t reorder_depth = 0;  // Streamed, and waiting for a flush before them.
  uint64_t reorder_depth_high_water = 0;
  uint64_t result_bytes = 0;  // Of streams that are not published yet.
  HistogramSnapshot rotate_ns;
  HistogramSnapshot stream_ns;   // From its start to its result.
  HistogramSnapshot publish_ns;  // From the first slice to the end of the last transaction.
};

// The counters behind it. Each is written by one thread, read by any. Thread-safe.
struct FlushMetrics {
  // Of the Committer.
  Counter pending, rotated, skipped, abandoned;
  Histogram rotate_ns;
  // Of the FlushFinalizer.
  Counter published, retried, timeouts, reorder_depth, reorder_depth_high_water, result_bytes;
  Histogram stream_ns, publish_ns;

  FlushStatus Status() const {
    return {.pending = pending.Get(),
            .rotated = rotated.Get(),
            .published = published.Get(),
            .skipped = skipped.Get(),
            .retried = retried.Get(),
            .abandoned = abandoned.Get(),
            .timeouts = timeouts.Get(),
            .reorder_depth = reorder_depth.Get(),
            .reorder_depth_high_water = reorder_depth_high_water.Get(),
            .result_bytes = result_bytes.Get(),
            .rotate_ns = rotate_ns.Snapshot(),
            .stream_ns = stream_ns.Snapshot(),
            .publish_ns = publish_ns.Snapshot()};
  }
};

}  // namespace millrace
