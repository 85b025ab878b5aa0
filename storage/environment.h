#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

#include "millrace/storage/inode_registry.h"
#include "millrace/storage/lock_file.h"
#include "millrace/storage/quota.h"
#include "millrace/storage/read_pool.h"
#include "millrace/storage/read_transaction.h"
#include "millrace/storage/tree_id.h"
#include "millrace/storage/write_permit.h"
#include "millrace/storage/write_transaction.h"

namespace millrace::storage {

// The version of what lies in the trees. Kept in this row of tree kMeta, as decimal text.
inline constexpr int kFormatVersion = 1;
inline constexpr std::string_view kFormatKey = "format";
// OK if `format`, the value of that row, is this version. FailedPrecondition names path and
// version.
absl::Status CheckFormat(std::string_view format, std::string_view path);

// Value.
struct EnvironmentOptions {
  // The store's directory. The environment keeps the files LOCK and store.mdb in it.
  std::string directory;
  bool create_if_missing = true;
  // Address space, not disk space: nothing is allocated. Halved as long as the system refuses it,
  // down to 1 GiB (or to this, if it is less).
  uint64_t map_size_bytes = uint64_t{1} << 40;
  // The real limit. 0 = 90 % of what the disk can give this store at open. At most the map's size.
  uint64_t quota_bytes = 0;
  // Hard limit on unflushed L0: decides the quota's reserve.
  uint64_t l0_hard_bytes = uint64_t{192} << 20;
  // Read transactions that can exist at a time.
  int reader_slots_max = 1024;
};

// Value. Figures of one moment, in bytes where not named otherwise.
struct EnvironmentUsage {
  uint64_t used_bytes = 0;  // Pages that hold something: the file less its free list.
  uint64_t file_bytes = 0;  // Pages of the file, free ones included.
  uint64_t map_size_bytes = 0;
  uint64_t quota_bytes = 0;
  uint64_t reserve_bytes = 0;
  uint64_t last_transaction = 0;  // LMDB's number of the last commit.
  int reader_count = 0;           // Read transactions in use.
  int reader_slots_max = 0;
};

// The LMDB environment of one store: its lock, its map, its trees, its quota. Only its holder uses
// the store; reads run on any thread, writes on the one that holds the write permit.
// All transactions and cursors end before it does. Thread-safe.
class Environment {
 public:
  // Unavailable if another process, or this one, has the store open: the message names its pid, and
  // so does the payload "millrace/owner-pid". NotFound, PermissionDenied, FailedPrecondition (no
  // store, or one of another format) and DataLoss name the path and what to do. What is refused is
  // left as it was, byte for byte.
  static absl::StatusOr<std::unique_ptr<Environment>> Open(const EnvironmentOptions& options);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  // The right to write. FailedPrecondition after the first time.
  absl::StatusOr<WritePermit> TakeWritePermit();
  // FailedPrecondition while another write transaction lives, from another thread than the
  // permit's, in a forked child, and for ever after a failed sync or an unknown outcome.
  absl::StatusOr<WriteTransaction> BeginWrite(const WritePermit& permit);

  // A view of the last commit, for any thread. ResourceExhausted, naming the limit, if every reader
  // slot is in use.
  absl::StatusOr<ReadTransaction> BeginRead();

  // As of the last commit.
  uint64_t used_bytes() const { return used_bytes_.load(); }
  const Quota& quota() const { return *quota_; }
  Quota& quota() { return *quota_; }
  // Whether `unflushed_l0_bytes`, the new operation included, will find room. See Quota.
  absl::Status AdmitPut(uint64_t unflushed_l0_bytes) const;
  absl::Status AdmitDelete(uint64_t unflushed_l0_bytes) const;

  EnvironmentUsage Usage() const;
  // Bytes that can still be written to the disk of the store.
  absl::StatusOr<uint64_t> DiskFree() const;
  // Frees the reader slots of processes that died, and says how many. To be called now and then.
  absl::StatusOr<int> CheckReaders();
  const std::string& directory() const { return directory_; }

 private:
  friend class WriteTransaction;
  Environment(const EnvironmentOptions& options, LockFile lock, InodeRegistration registration);

  // The steps of Open().
  static absl::Status CreateDatabase(const std::string& directory, bool create_if_missing);
  static int WriteEmptyStore(const std::string& path);
  absl::Status OpenMap(uint64_t map_size_bytes);
  absl::Status SettleFile();
  absl::Status CheckIsStore() const;
  absl::Status OpenTrees();
  absl::Status SetQuota(const EnvironmentOptions& options);

  // For WriteTransaction, on the writer's thread.
  absl::Status AdmitCommit(MDB_txn* txn, bool reclaiming) const;
  void Committed();
  // The status of an LMDB code, and of errno as it was then, of a failed write: classified, and
  // remembered if no write may follow.
  absl::Status WriteFailed(int code, int error, std::string_view operation);
  CommitFailure Classify(int code, int error);
  uint64_t UsedBytesSeenBy(MDB_txn* txn) const;

  // Constant once open.
  const std::string directory_;
  const std::string path_;  // Of the LMDB file.
  const int reader_slots_max_;
  const uint32_t fork_generation_;
  LockFile lock_;
  InodeRegistration registration_;
  MDB_env* env_ = nullptr;
  std::array<unsigned, kTreeCount> trees_ = {};  // LMDB's handle of each tree.
  uint64_t page_bytes_ = 0;
  uint64_t map_size_bytes_ = 0;
  std::optional<Quota> quota_;
  std::optional<ReadPool> readers_;
  std::atomic<uint64_t> used_bytes_{0};
  std::atomic<bool> permit_taken_{false};
  std::atomic<bool> write_active_{false};
  // Touched only on the writer's thread.
  MDB_txn* own_read_ = nullptr;  // Reset between uses; has a slot of its own.
  int write_cursor_count_ = 0;   // Open cursors of the write transaction.
  // Not OK: no write may follow it.
  absl::Mutex mutex_;
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace millrace::storage
