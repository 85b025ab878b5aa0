#include <chrono>

#include "absl/strings/str_cat.h"
#include "bench/commit_reads.h"
#include <lmdb.h>

namespace millrace {
namespace {

// A read transaction on the records of a store. Owned by one thread.
class RawRecords {
 public:
  ~RawRecords() {
    if (transaction_ != nullptr) mdb_txn_abort(transaction_);
    if (environment_ != nullptr) mdb_env_close(environment_);
  }

  absl::Status Open(const std::string& store) {
    int code = mdb_env_create(&environment_);
    if (code == 0) code = mdb_env_set_maxdbs(environment_, 32);
    const unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | MDB_RDONLY;
    const std::string path = store + "/store.mdb";
    if (code == 0) code = mdb_env_open(environment_, path.c_str(), flags, 0644);
    if (code == 0) code = mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &transaction_);
    if (code == 0) code = mdb_dbi_open(transaction_, "records", 0, &tree_);
    return code == 0 ? absl::OkStatus()
                     : absl::InternalError(absl::StrCat("lmdb: ", path, ": ", mdb_strerror(code)));
  }

  MDB_txn* transaction() const { return transaction_; }
  MDB_dbi tree() const { return tree_; }

 private:
  MDB_env* environment_ = nullptr;
  MDB_txn* transaction_ = nullptr;
  MDB_dbi tree_ = 0;
};

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

absl::StatusOr<double> RawPointReads(const std::string& store, absl::Span<const std::string> keys) {
  RawRecords records;
  if (absl::Status status = records.Open(store); !status.ok()) return status;
  const auto begin = std::chrono::steady_clock::now();
  for (const std::string& bytes : keys) {
    MDB_val key = {bytes.size(), const_cast<char*>(bytes.data())};  // LMDB does not write to it.
    MDB_val value;
    if (mdb_get(records.transaction(), records.tree(), &key, &value) != 0) {
      return absl::DataLossError("lmdb: a record is missing");
    }
    Keep(std::string(static_cast<char*>(value.mv_data), value.mv_size));
  }
  return static_cast<double>(keys.size()) / SecondsSince(begin);
}

absl::StatusOr<double> RawScan(const std::string& store, size_t row_count) {
  RawRecords records;
  if (absl::Status status = records.Open(store); !status.ok()) return status;
  MDB_cursor* cursor = nullptr;
  if (mdb_cursor_open(records.transaction(), records.tree(), &cursor) != 0) {
    return absl::InternalError("lmdb: no cursor");
  }
  const auto begin = std::chrono::steady_clock::now();
  size_t rows = 0;
  uint64_t bytes = 0;
  MDB_val key;
  MDB_val value;
  while (mdb_cursor_get(cursor, &key, &value, rows == 0 ? MDB_FIRST : MDB_NEXT) == 0) {
    ++rows;
    bytes += static_cast<const uint8_t*>(value.mv_data)[value.mv_size - 1];
  }
  const double seconds = SecondsSince(begin);
  Keep(bytes);
  mdb_cursor_close(cursor);
  if (rows != row_count) {
    return absl::DataLossError(absl::StrCat("lmdb: ", rows, " rows instead of ", row_count));
  }
  return static_cast<double>(rows) / seconds;
}

}  // namespace millrace
