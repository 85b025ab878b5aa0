#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/rebuild_system.h"
#include <lmdb.h>

namespace millrace {
namespace {

constexpr size_t kTransactionRows = 10'000;

absl::Status ToStatus(const char* what, int code) {
  return code == 0 ? absl::OkStatus()
                   : absl::InternalError(absl::StrCat("lmdb: ", what, ": ", mdb_strerror(code)));
}

struct CloseEnvironment {
  void operator()(MDB_env* environment) const { mdb_env_close(environment); }
};

// Puts, so many a transaction. Owned by one thread.
class Inserter {
 public:
  Inserter(MDB_env* environment, const char* tree, unsigned flags)
      : environment_(environment), tree_name_(tree), flags_(flags) {}

  absl::Status Put(std::string_view key, std::string_view value) {
    if (transaction_ == nullptr) {
      if (absl::Status status = Begin(); !status.ok()) return status;
    }
    MDB_val key_val{key.size(), const_cast<char*>(key.data())};  // LMDB does not write to them.
    MDB_val value_val{value.size(), const_cast<char*>(value.data())};
    const int code = mdb_put(transaction_, tree_, &key_val, &value_val, flags_);
    if (code != 0) {
      mdb_txn_abort(transaction_);
      transaction_ = nullptr;
      return ToStatus("put", code);
    }
    return ++row_count_ % kTransactionRows == 0 ? Commit() : absl::OkStatus();
  }
  absl::Status Commit() {
    if (transaction_ == nullptr) return absl::OkStatus();
    const int code = mdb_txn_commit(transaction_);
    transaction_ = nullptr;
    return ToStatus("commit", code);
  }
  absl::Status CheckCount(size_t wanted) {
    if (absl::Status status = Begin(); !status.ok()) return status;
    MDB_stat stat;
    const int code = mdb_stat(transaction_, tree_, &stat);
    mdb_txn_abort(transaction_);
    transaction_ = nullptr;
    if (code == 0 && stat.ms_entries != wanted) return absl::DataLossError("lmdb: entries missing");
    return ToStatus("stat", code);
  }

 private:
  absl::Status Begin() {
    absl::Status status = ToStatus("begin", mdb_txn_begin(environment_, nullptr, 0, &transaction_));
    if (!status.ok()) return status;
    return ToStatus("dbi", mdb_dbi_open(transaction_, tree_name_, MDB_CREATE, &tree_));
  }

  MDB_env* const environment_;
  const char* const tree_name_;
  const unsigned flags_;
  MDB_txn* transaction_ = nullptr;
  MDB_dbi tree_ = 0;
  size_t row_count_ = 0;
};

// Number, big-endian, and id: what an index entry is.
using Entry = std::array<char, sizeof(int64_t) + 16>;

Entry EntryOf(std::string_view number, std::string_view id) {
  Entry entry;
  std::reverse_copy(number.begin(), number.end(), entry.begin());
  std::copy(id.begin(), id.end(), entry.begin() + sizeof(int64_t));
  return entry;
}

bool IsBefore(const Entry& one, const Entry& other) {
  return std::memcmp(one.data(), other.data(), one.size()) < 0;
}

std::string_view BytesOf(const Entry& entry) {
  return {entry.data(), entry.size()};
}

// Calls `take` with the entry of each record.
template <typename Take>
absl::Status Scan(MDB_env* environment, Take take) {
  MDB_txn* transaction = nullptr;
  absl::Status status =
      ToStatus("begin", mdb_txn_begin(environment, nullptr, MDB_RDONLY, &transaction));
  if (!status.ok()) return status;
  MDB_dbi tree = 0;
  MDB_cursor* cursor = nullptr;
  status = ToStatus("dbi", mdb_dbi_open(transaction, "records", 0, &tree));
  if (status.ok()) status = ToStatus("cursor", mdb_cursor_open(transaction, tree, &cursor));
  MDB_val key;
  MDB_val value;
  while (status.ok() && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
    status = take(EntryOf({static_cast<const char*>(value.mv_data), sizeof(int64_t)},
                          {static_cast<const char*>(key.mv_data), key.mv_size}));
  }
  if (cursor != nullptr) mdb_cursor_close(cursor);
  mdb_txn_abort(transaction);
  return status;
}

absl::Status Fill(MDB_env* environment, int64_t record_count) {
  Inserter records(environment, "records", MDB_APPEND);
  absl::Status status;
  for (int64_t i = 0; status.ok() && i < record_count; ++i) {
    const int64_t number = RebuildNumber(i);
    std::string value(sizeof(number) + kRebuildTextBytes, 'x');
    std::memcpy(value.data(), &number, sizeof(number));
    status = records.Put(RebuildId(i), value);
  }
  return status.ok() ? records.Commit() : status;
}

BuildRate Build(const std::string& directory, int64_t record_count, bool sorted) {
  MDB_env* opened = nullptr;
  absl::Status status = ToStatus("create", mdb_env_create(&opened));
  if (!status.ok()) return status;
  const std::unique_ptr<MDB_env, CloseEnvironment> environment(opened);
  status = ToStatus("map", mdb_env_set_mapsize(opened, size_t{16} << 30));
  if (status.ok()) status = ToStatus("trees", mdb_env_set_maxdbs(opened, 2));
  const std::string path = directory + "/lmdb";
  if (status.ok()) {
    status = ToStatus("open", mdb_env_open(opened, path.c_str(), MDB_NOSUBDIR | MDB_NOTLS, 0644));
  }
  if (status.ok()) status = Fill(opened, record_count);
  if (!status.ok()) return status;
  const absl::Time begin = absl::Now();
  Inserter index(opened, "index", sorted ? MDB_APPEND : 0);
  if (sorted) {
    std::vector<Entry> entries;
    status = Scan(opened, [&](const Entry& entry) {
      entries.push_back(entry);
      return absl::OkStatus();
    });
    std::sort(entries.begin(), entries.end(), IsBefore);
    for (size_t i = 0; status.ok() && i < entries.size(); ++i) {
      status = index.Put(BytesOf(entries[i]), "");
    }
  } else {
    status = Scan(opened, [&](const Entry& entry) { return index.Put(BytesOf(entry), ""); });
  }
  if (status.ok()) status = index.Commit();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  if (status.ok()) status = index.CheckCount(static_cast<size_t>(record_count));
  if (!status.ok()) return status;
  return static_cast<double>(record_count) / seconds;
}

}  // namespace

BuildRate BuildLmdbLimit(const std::string& directory, int64_t record_count) {
  return Build(directory, record_count, /*sorted=*/true);
}

BuildRate BuildLmdbUnsorted(const std::string& directory, int64_t record_count) {
  return Build(directory, record_count, /*sorted=*/false);
}

}  // namespace millrace
