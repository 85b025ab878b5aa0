#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "bench/commit_system.h"
#include <lmdb.h>

namespace millrace {
namespace {

MDB_val ToVal(std::string_view bytes) {
  return {bytes.size(), const_cast<char*>(bytes.data())};  // LMDB does not write to it.
}

absl::Status ToStatus(const char* what, int code) {
  return code == 0 ? absl::OkStatus()
                   : absl::InternalError(absl::StrCat("lmdb: ", what, ": ", mdb_strerror(code)));
}

// One put a transaction, or a batch. Thread-safe: LMDB lets one writer in at a time.
class Lmdb : public CommitSystem {
 public:
  ~Lmdb() override {
    if (environment_ != nullptr) mdb_env_close(environment_);
  }

  absl::Status Open(const std::string& path) {
    absl::Status status = ToStatus("create", mdb_env_create(&environment_));
    if (status.ok()) status = ToStatus("map", mdb_env_set_mapsize(environment_, size_t{32} << 30));
    const unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD;
    if (status.ok())
      status = ToStatus("open", mdb_env_open(environment_, path.c_str(), flags, 0644));
    MDB_txn* transaction = nullptr;
    if (status.ok())
      status = ToStatus("begin", mdb_txn_begin(environment_, nullptr, 0, &transaction));
    if (!status.ok()) return status;
    status = ToStatus("dbi", mdb_dbi_open(transaction, nullptr, 0, &tree_));
    const absl::Status committed = ToStatus("commit", mdb_txn_commit(transaction));
    return status.ok() ? committed : status;
  }

  absl::Status Commit(const CommitRecord& record) override { return CommitAll({&record, 1}); }

  absl::Status CommitAll(absl::Span<const CommitRecord> records) {
    MDB_txn* transaction = nullptr;
    if (const int code = mdb_txn_begin(environment_, nullptr, 0, &transaction); code != 0) {
      return ToStatus("begin", code);
    }
    for (const CommitRecord& record : records) {
      MDB_val key = ToVal(record.key);
      MDB_val value = ToVal(record.value);
      if (const int code = mdb_put(transaction, tree_, &key, &value, 0); code != 0) {
        mdb_txn_abort(transaction);
        return ToStatus("put", code);
      }
    }
    return ToStatus("commit", mdb_txn_commit(transaction));
  }

  absl::Status Check(absl::Span<const CommitRecord> records) override {
    MDB_txn* transaction = nullptr;
    if (const int code = mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &transaction);
        code != 0) {
      return ToStatus("begin", code);
    }
    absl::Status status;
    for (const CommitRecord& record : records) {
      MDB_val key = ToVal(record.key);
      MDB_val value;
      if (mdb_get(transaction, tree_, &key, &value) != 0 ||
          std::string_view(static_cast<char*>(value.mv_data), value.mv_size) != record.value) {
        status = MissingRecord("lmdb", record);
        break;
      }
    }
    mdb_txn_abort(transaction);
    return status;
  }

 private:
  MDB_env* environment_ = nullptr;
  MDB_dbi tree_ = 0;
};

// The best that threads can do with LMDB alone: the first one in commits what all others have
// brought by then. Thread-safe.
class LmdbGroup final : public Lmdb {
 public:
  absl::Status Commit(const CommitRecord& record) override {
    return CommitWithOthers({&record, 1});
  }

  absl::Status CommitWithOthers(absl::Span<const CommitRecord> records) {
    absl::MutexLock lock(&mutex_);
    waiting_.insert(waiting_.end(), records.begin(), records.end());
    const uint64_t mine = group_;
    while (committed_ <= mine && leading_) changed_.Wait(&mutex_);
    if (committed_ > mine) return status_;
    leading_ = true;
    std::vector<CommitRecord> group;
    group.swap(waiting_);
    ++group_;
    mutex_.Unlock();
    const absl::Status status = CommitAll(group);
    mutex_.Lock();
    if (!status.ok()) status_ = status;
    committed_ = mine + 1;
    leading_ = false;
    changed_.SignalAll();
    return status;
  }

  std::unique_ptr<CommitStream> NewStream(size_t outstanding_max) override {
    return std::make_unique<BatchStream>(
        outstanding_max,
        [this](absl::Span<const CommitRecord> records) { return CommitWithOthers(records); });
  }

 private:
  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::vector<CommitRecord> waiting_ ABSL_GUARDED_BY(mutex_);
  // The group that `waiting_` becomes, and the first that is not committed yet.
  uint64_t group_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t committed_ ABSL_GUARDED_BY(mutex_) = 0;
  bool leading_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

template <typename System>
OpenedSystem Open(const std::string& directory) {
  auto system = std::make_unique<System>();
  if (absl::Status status = system->Open(directory + "/lmdb"); !status.ok()) return status;
  return system;
}

}  // namespace

OpenedSystem OpenLmdb(const std::string& directory, size_t commits_max) {
  return Open<Lmdb>(directory);
}

OpenedSystem OpenLmdbGroup(const std::string& directory, size_t commits_max) {
  return Open<LmdbGroup>(directory);
}

}  // namespace millrace
