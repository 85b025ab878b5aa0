#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

struct MDB_env;
struct MDB_txn;

namespace millrace::storage {

// The read transactions of one environment. One that ends keeps its reader slot and waits here to
// be renewed, which costs a tenth of beginning one. Inner part of Environment. Thread-safe.
class ReadPool {
 public:
  // `env` outlives the pool. At most `slots_max` transactions exist at a time.
  ReadPool(MDB_env* env, int slots_max, std::string path);
  ~ReadPool();
  ReadPool(const ReadPool&) = delete;
  ReadPool& operator=(const ReadPool&) = delete;

  // A transaction that sees the last commit, to be given back. ResourceExhausted, naming the limit,
  // if all slots are taken even after those of dead processes were freed; FailedPrecondition in a
  // forked child and after a fatal error of the environment.
  absl::StatusOr<MDB_txn*> Acquire();
  void Release(MDB_txn* txn);
  // Ends `txn` and begins it again, so that it sees the last commit. If this fails the transaction
  // has ended but still is to be given back.
  absl::Status Renew(MDB_txn* txn);

  // Transactions handed out. Exact only while nobody begins or ends one.
  int in_use_count() const;

 private:
  // A place where one transaction waits, one to a cache line: threads look at different ones first.
  struct alignas(64) Place {
    std::atomic<MDB_txn*> txn{nullptr};
  };
  static constexpr size_t kPlaceCount = 64;

  MDB_txn* TakeWaiting();
  absl::StatusOr<MDB_txn*> Begin();

  MDB_env* const env_;
  const int slots_max_;
  const std::string path_;
  const uint32_t fork_generation_;
  std::array<Place, kPlaceCount> places_;
  std::atomic<int> created_count_{0};
  mutable absl::Mutex mutex_;
  std::vector<MDB_txn*> overflow_ ABSL_GUARDED_BY(mutex_);  // Waiting, when all places are full.
};

}  // namespace millrace::storage
