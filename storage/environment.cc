#include "millrace/storage/environment.h"

#include <errno.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include <lmdb.h>

#include "millrace/storage/lmdb_status.h"
#include "millrace/storage/process_fork.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/store_directory.h"

// Opening is in environment_open.cc.

namespace millrace::storage {
namespace {

// Below this a disk counts as full: LMDB writes at most 256 KiB at once, and file systems keep
// some.
constexpr uint64_t kFullDiskBytes = 1 << 20;

// LMDB's own handle of its free list and of the tree that names the others.
constexpr unsigned kFreeListHandle = 0;
constexpr unsigned kMainHandle = 1;
constexpr uint64_t kMetaPageCount = 2;

uint64_t PagesOf(MDB_txn* txn, unsigned handle) {
  MDB_stat stat = {};
  if (mdb_stat(txn, handle, &stat) != MDB_SUCCESS) return 0;
  return stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
}

bool IsOutOfSpace(int code) {
  return code == ENOSPC || code == EDQUOT || code == EFBIG;
}

}  // namespace

Environment::Environment(const EnvironmentOptions& options, LockFile lock,
                         InodeRegistration registration)
    : directory_(options.directory),
      path_(absl::StrCat(options.directory, "/", kDatabaseFileName)),
      reader_slots_max_(options.reader_slots_max),
      fork_generation_(ForkGeneration()),
      lock_(std::move(lock)),
      registration_(std::move(registration)) {
}

Environment::~Environment() {
  // In a forked child the map and its reader slots are the parent's: leave them.
  if (fork_generation_ != ForkGeneration()) return;
  CHECK(!write_active_.load()) << "a write transaction outlives its environment " << path_;
  readers_.reset();
  if (own_read_ != nullptr) mdb_txn_abort(own_read_);
  if (env_ != nullptr) mdb_env_close(env_);
}

absl::StatusOr<WritePermit> Environment::TakeWritePermit() {
  if (permit_taken_.exchange(true)) {
    return absl::FailedPreconditionError(
        absl::StrCat("taking the write permit of ", path_, ": it is taken; there is one"));
  }
  return WritePermit(this);
}

absl::StatusOr<WriteTransaction> Environment::BeginWrite(const WritePermit& permit) {
  const char* objection = nullptr;
  if (fork_generation_ != ForkGeneration()) {
    objection = "the store was opened before fork(); only the parent may use it";
  } else if (permit.environment_ != this) {
    objection = "the permit was moved away or is of another environment";
  } else if (permit.thread_ != std::thread::id() && permit.thread_ != std::this_thread::get_id()) {
    objection = "the permit belongs to another thread; move it to hand it over";
  }
  if (objection != nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("writing to ", path_, ": ", objection));
  }
  {
    absl::MutexLock lock(&mutex_);
    if (!fatal_.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("writing to ", path_, ": no write may follow an earlier failure (",
                       fatal_.message(), "); close the store and open it again"));
    }
  }
  if (write_active_.exchange(true)) {
    return absl::FailedPreconditionError(
        absl::StrCat("writing to ", path_, ": the write transaction before has not ended"));
  }
  permit.thread_ = std::this_thread::get_id();
  MDB_txn* txn = nullptr;
  errno = 0;
  if (const int code = WriteTransaction::BeginTxn(env_, &txn); code != MDB_SUCCESS) {
    const int error = errno;
    write_active_.store(false);
    return WriteFailed(code, error, "beginning to write to");
  }
  return WriteTransaction(this, txn);
}

absl::StatusOr<ReadTransaction> Environment::BeginRead() {
  absl::StatusOr<MDB_txn*> txn = readers_->Acquire();
  if (!txn.ok()) return std::move(txn).status();
  return ReadTransaction(&*readers_, trees_.data(), *txn);
}

absl::Status Environment::AdmitPut(uint64_t unflushed_l0_bytes) const {
  return quota_->AdmitPut(used_bytes(), unflushed_l0_bytes);
}

absl::Status Environment::AdmitDelete(uint64_t unflushed_l0_bytes) const {
  return quota_->AdmitDelete(used_bytes(), unflushed_l0_bytes);
}

EnvironmentUsage Environment::Usage() const {
  MDB_envinfo info = {};
  mdb_env_info(env_, &info);
  return {.used_bytes = used_bytes(),
          .file_bytes = (info.me_last_pgno + 1) * page_bytes_,
          .map_size_bytes = map_size_bytes_,
          .quota_bytes = quota_->quota_bytes(),
          .reserve_bytes = quota_->reserve_bytes(),
          .last_transaction = info.me_last_txnid,
          .reader_count = readers_->in_use_count(),
          .reader_slots_max = reader_slots_max_};
}

absl::StatusOr<uint64_t> Environment::DiskFree() const {
  return DiskFreeBytes(directory_);
}

absl::StatusOr<int> Environment::CheckReaders() {
  int dead_count = 0;
  const int code = mdb_reader_check(env_, &dead_count);
  if (code != MDB_SUCCESS) return LmdbStatus(code, "checking the readers of", path_);
  return dead_count;
}

absl::Status Environment::AdmitCommit(MDB_txn* txn, bool reclaiming) const {
  absl::Status status = quota_->AdmitCommit(used_bytes(), UsedBytesSeenBy(txn), reclaiming);
  if (status.ok()) return status;
  return WithCommitFailure(std::move(status), CommitFailure::kQuota);
}

void Environment::Committed() {
  // A figure that could not be read stays as it was: the next commit corrects it.
  if (mdb_txn_renew(own_read_) != MDB_SUCCESS) return;
  used_bytes_.store(UsedBytesSeenBy(own_read_));
  mdb_txn_reset(own_read_);
}

absl::Status Environment::WriteFailed(int code, int error, std::string_view operation) {
  const CommitFailure failure = Classify(code, error);
  const absl::Status plain = LmdbStatus(code, operation, path_);
  absl::StatusCode status_code = plain.code();
  std::string message(plain.message());
  switch (failure) {
    case CommitFailure::kFull: {
      status_code = absl::StatusCode::kResourceExhausted;
      const absl::StatusOr<uint64_t> free_bytes = DiskFree();
      absl::StrAppend(&message, "; the store uses ", used_bytes(), " bytes of a quota of ",
                      quota_->quota_bytes(), " in a map of ", map_size_bytes_, ", the disk has ",
                      free_bytes.ok() ? absl::StrCat(*free_bytes) : "unknown",
                      " free; nothing was written");
      break;
    }
    case CommitFailure::kSyncFailed:
      status_code = absl::StatusCode::kInternal;
      absl::StrAppend(&message, "; nothing of the transaction is in the store");
      break;
    case CommitFailure::kOutcomeUnknown:
      status_code = absl::StatusCode::kUnknown;
      absl::StrAppend(&message,
                      "; whether the transaction is in the store shows when it is opened");
      break;
    case CommitFailure::kQuota:
    case CommitFailure::kTransactionFull:
    case CommitFailure::kOther:
      break;
  }
  absl::Status status = WithCommitFailure(absl::Status(status_code, message), failure);
  if (failure == CommitFailure::kSyncFailed || failure == CommitFailure::kOutcomeUnknown) {
    absl::MutexLock lock(&mutex_);
    if (fatal_.ok()) fatal_ = status;
  }
  return status;
}

CommitFailure Environment::Classify(int code, int error) {
  if (code == MDB_MAP_FULL) return CommitFailure::kFull;
  if (code == MDB_TXN_FULL) return CommitFailure::kTransactionFull;
  // LMDB tells that the meta page failed only to whoever begins next.
  const int renewed = mdb_txn_renew(own_read_);
  if (renewed == MDB_SUCCESS) mdb_txn_reset(own_read_);
  if (renewed == MDB_PANIC || code == MDB_PANIC) return CommitFailure::kOutcomeUnknown;
  if (IsOutOfSpace(code)) return CommitFailure::kFull;
  if (code < 0 || code == ENOMEM) return CommitFailure::kOther;
  // LMDB makes EIO of a short write, which sets no errno and means that there is no space.
  if (code == EIO && error == 0) return CommitFailure::kFull;
  const absl::StatusOr<uint64_t> free_bytes = DiskFree();
  if (code == EIO && free_bytes.ok() && *free_bytes < kFullDiskBytes) return CommitFailure::kFull;
  return CommitFailure::kSyncFailed;
}

uint64_t Environment::UsedBytesSeenBy(MDB_txn* txn) const {
  // What is not free is reachable, and LMDB keeps the page count of every tree.
  uint64_t pages = kMetaPageCount + PagesOf(txn, kFreeListHandle) + PagesOf(txn, kMainHandle);
  for (const unsigned handle : trees_) pages += PagesOf(txn, handle);
  return pages * page_bytes_;
}

}  // namespace millrace::storage
