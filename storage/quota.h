#pragma once

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"

namespace millrace::storage {

// How much of the disk a store may use, and what is still admitted. Used bytes are the pages of the
// LMDB file less its free list. Pure arithmetic: who asks brings the figures. Thread-safe.
//
//   puts      admitted while used + what unflushed L0 will become <= quota - reserve
//   deletes   admitted while used + what unflushed L0 will become <= quota
//   a commit  may use the reserve, up to the quota; what frees space may pass it by an eighth
//
// So what was admitted always finds room, and a full store can be emptied.
class Quota {
 public:
  // `l0_hard_bytes` is the hard limit on unflushed L0. Both are at least 1.
  Quota(uint64_t quota_bytes, uint64_t l0_hard_bytes);

  uint64_t quota_bytes() const { return quota_bytes_; }
  // 5 % of the quota, at least 4 x l0_hard_bytes().
  uint64_t reserve_bytes() const { return reserve_bytes_; }
  // The hard limit on unflushed L0: as given, at most 1/32 of the quota.
  uint64_t l0_hard_bytes() const { return l0_hard_bytes_; }
  // The same for deletes, drops and collection: an eighth more.
  uint64_t l0_hard_bytes_for_deletes() const { return l0_hard_bytes_ + l0_hard_bytes_ / 8; }

  // Bytes of LMDB that a byte of L0 becomes, as measured; 2 before the first measurement.
  double growth() const { return growth_.load(std::memory_order_relaxed); }
  // A flush of `l0_bytes` made `used_bytes` grow by `grown_bytes` (negative: it shrank). Growth
  // follows a rise at once and a fall slowly, within [1, 16]. Flushes below 1 MiB say nothing (they
  // are dominated by the last page of each tree).
  void RecordFlush(uint64_t l0_bytes, int64_t grown_bytes);

  // ResourceExhausted, naming used bytes and quota, if the space is spoken for.
  absl::Status AdmitPut(uint64_t used_bytes, uint64_t unflushed_bytes) const;
  absl::Status AdmitDelete(uint64_t used_bytes, uint64_t unflushed_bytes) const;

  // ResourceExhausted if a transaction that takes the store from `used_before` to `used_after` must
  // not be committed. One that does not grow the store always may; a reclaiming one (collection,
  // drops, a flush of deletes) may pass the quota by an eighth.
  absl::Status AdmitCommit(uint64_t used_before, uint64_t used_after, bool reclaiming) const;

 private:
  const uint64_t quota_bytes_;
  const uint64_t l0_hard_bytes_;
  const uint64_t reserve_bytes_;
  std::atomic<double> growth_;  // Relaxed: a figure of its own, guards nothing.
};

}  // namespace millrace::storage
