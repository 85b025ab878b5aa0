#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

#include "millrace/actors/engine.h"

// What the child of the kill test writes, and its parent expects. Thread t's batch k, numbered from
// 0 without gaps over all children of a store,
//   - puts the record "count/t" with {"n": k},
//   - puts 1 + k % 3 records "t/k/i" with {"n": k}, of different lengths,
//   - deletes those of batch k - kKillBatchesKept.
// So the counts tell how many commits there are, which is the version, less one for the collection.

namespace millrace::testing {

inline constexpr char kKillCollection[] = "work";
inline constexpr uint64_t kKillThreadCount = 4;
inline constexpr uint64_t kKillBatchesKept = 300;

// One answered commit, as the child reports it. Value.
struct KillAnswer {
  uint64_t thread = 0;
  uint64_t batch = 0;
  uint64_t version = 0;
};

// Flushes all the time.
inline EngineOptions KillEngine() {
  EngineOptions options;
  options.quota_bytes = uint64_t{1} << 30;
  options.rotate_bytes = uint64_t{256} << 10;
  options.rotate_rows = 2'500;
  options.rotate_interval = absl::Milliseconds(20);
  options.l0_soft_bytes_max = uint64_t{8} << 20;
  options.l0_hard_bytes_max = uint64_t{16} << 20;
  options.log_file_bytes = uint64_t{1} << 20;
  options.sync_interval = absl::Milliseconds(3);
  return options;
}

inline uint64_t RowsOf(uint64_t batch) {
  return 1 + batch % 3;
}
inline std::string CounterId(uint64_t thread) {
  return absl::StrCat("count/", thread);
}
inline std::string RowId(uint64_t thread, uint64_t batch, uint64_t row) {
  return absl::StrCat(thread, "/", batch, "/", row);
}
inline storage::Document RowDocument(uint64_t batch) {
  return *storage::DocumentBuilder()
              .Set("n", static_cast<int64_t>(batch))
              .Set("text", std::string(batch % 300, 'x'))
              .Finish();
}

inline storage::WriteBatch KillBatch(const storage::Collection& collection, uint64_t thread,
                                     uint64_t batch_number) {
  storage::WriteBatch batch;
  batch.Put(collection, CounterId(thread), RowDocument(batch_number));
  for (uint64_t row = 0; row < RowsOf(batch_number); ++row) {
    batch.Put(collection, RowId(thread, batch_number, row), RowDocument(batch_number));
  }
  if (batch_number < kKillBatchesKept) return batch;
  const uint64_t old = batch_number - kKillBatchesKept;
  for (uint64_t row = 0; row < RowsOf(old); ++row) {
    batch.Delete(collection, RowId(thread, old, row));
  }
  return batch;
}

// The number of the thread's first batch that is not in the store.
inline uint64_t NextBatch(const storage::Snapshot& snapshot, const storage::Collection& collection,
                          uint64_t thread) {
  const absl::StatusOr<storage::Record> record = snapshot.Get(collection, CounterId(thread));
  if (!record.ok()) return 0;
  return static_cast<uint64_t>(std::get<int64_t>(*record->document.Field("n"))) + 1;
}

}  // namespace millrace::testing
