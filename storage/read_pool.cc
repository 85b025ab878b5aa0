#include "millrace/storage/read_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include <lmdb.h>

#include "millrace/storage/lmdb_status.h"
#include "millrace/storage/process_fork.h"

namespace millrace::storage {
namespace {

// Each thread has a place of its own as long as there are no more threads than places.
size_t PlaceOfThread() {
  static std::atomic<size_t> next{0};
  // Relaxed: only distinctness matters.
  thread_local const size_t mine = next.fetch_add(1, std::memory_order_relaxed);
  return mine;
}

absl::Status ForkedStatus(const std::string& path) {
  return absl::FailedPreconditionError(absl::StrCat(
      "reading ", path, ": the store was opened before fork(); only the parent may use it"));
}

}  // namespace

ReadPool::ReadPool(MDB_env* env, int slots_max, std::string path)
    : env_(env), slots_max_(slots_max), path_(std::move(path)), fork_generation_(ForkGeneration()) {
}

ReadPool::~ReadPool() {
  if (fork_generation_ != ForkGeneration()) return;
  CHECK_EQ(in_use_count(), 0) << "read transactions of " << path_ << " outlive their environment";
  while (MDB_txn* txn = TakeWaiting()) mdb_txn_abort(txn);
}

absl::StatusOr<MDB_txn*> ReadPool::Acquire() {
  if (fork_generation_ != ForkGeneration()) return ForkedStatus(path_);
  MDB_txn* const txn = TakeWaiting();
  if (txn == nullptr) return Begin();
  if (const int code = mdb_txn_renew(txn); code != MDB_SUCCESS) {
    Release(txn);
    return LmdbStatus(code, "renewing a read transaction of", path_);
  }
  return txn;
}

void ReadPool::Release(MDB_txn* txn) {
  // A child must not free the slot in shared memory: its parent is reading there.
  if (fork_generation_ != ForkGeneration()) return;
  mdb_txn_reset(txn);
  const size_t first = PlaceOfThread();
  for (size_t i = 0; i < kPlaceCount; ++i) {
    std::atomic<MDB_txn*>& place = places_[(first + i) % kPlaceCount].txn;
    MDB_txn* expected = nullptr;
    // Release pairs with the acquire of TakeWaiting(): the next thread sees the reset.
    if (place.compare_exchange_strong(expected, txn, std::memory_order_release,
                                      std::memory_order_relaxed)) {
      return;
    }
  }
  absl::MutexLock lock(&mutex_);
  overflow_.push_back(txn);
}

absl::Status ReadPool::Renew(MDB_txn* txn) {
  if (fork_generation_ != ForkGeneration()) return ForkedStatus(path_);
  mdb_txn_reset(txn);
  return LmdbStatus(mdb_txn_renew(txn), "renewing a read transaction of", path_);
}

int ReadPool::in_use_count() const {
  int waiting = 0;
  for (const Place& place : places_) waiting += place.txn.load() != nullptr;
  absl::MutexLock lock(&mutex_);
  return created_count_.load() - waiting - static_cast<int>(overflow_.size());
}

MDB_txn* ReadPool::TakeWaiting() {
  const size_t first = PlaceOfThread();
  for (size_t i = 0; i < kPlaceCount; ++i) {
    std::atomic<MDB_txn*>& place = places_[(first + i) % kPlaceCount].txn;
    // Relaxed: a hint, the exchange decides.
    if (place.load(std::memory_order_relaxed) == nullptr) continue;
    // Acquire pairs with the release of Release().
    if (MDB_txn* const txn = place.exchange(nullptr, std::memory_order_acquire)) return txn;
  }
  absl::MutexLock lock(&mutex_);
  if (overflow_.empty()) return nullptr;
  MDB_txn* const txn = overflow_.back();
  overflow_.pop_back();
  return txn;
}

absl::StatusOr<MDB_txn*> ReadPool::Begin() {
  if (created_count_.fetch_add(1) >= slots_max_) {
    created_count_.fetch_sub(1);
    return absl::ResourceExhaustedError(absl::StrCat(
        "reading ", path_, ": all ", slots_max_,
        " reader slots are in use (reader_slots_max); end snapshots or open with more"));
  }
  MDB_txn* txn = nullptr;
  int code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
  if (code == MDB_READERS_FULL) {
    // The slots are shared with other processes (dump tools): free those of dead ones.
    int dead_count = 0;
    mdb_reader_check(env_, &dead_count);
    code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
  }
  if (code == MDB_SUCCESS) return txn;
  created_count_.fetch_sub(1);
  absl::Status status = LmdbStatus(code, "beginning a read transaction of", path_);
  if (code != MDB_READERS_FULL) return status;
  return absl::ResourceExhaustedError(
      absl::StrCat(status.message(), "; the limit is ", slots_max_));
}

}  // namespace millrace::storage
