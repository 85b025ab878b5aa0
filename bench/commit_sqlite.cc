#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "bench/commit_system.h"
#include <sqlite3.h>

namespace millrace {
namespace {

// One connection, as SQLite has one writer. Thread-safe.
class Sqlite final : public CommitSystem {
 public:
  explicit Sqlite(sqlite3* database) : database_(database) {}
  ~Sqlite() override {
    for (sqlite3_stmt* statement : {insert_, begin_, commit_, select_}) sqlite3_finalize(statement);
    sqlite3_close(database_);
  }

  absl::Status Prepare() {
    const absl::MutexLock lock(&mutex_);
    for (const char* sql : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
                            "CREATE TABLE t(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID"}) {
      if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return Error(sql);
    }
    const std::pair<const char*, sqlite3_stmt**> statements[] = {
        {"INSERT OR REPLACE INTO t VALUES(?, ?)", &insert_},
        {"BEGIN IMMEDIATE", &begin_},
        {"COMMIT", &commit_},
        {"SELECT v FROM t WHERE k = ?", &select_}};
    for (const auto& [sql, statement] : statements) {
      if (sqlite3_prepare_v2(database_, sql, -1, statement, nullptr) != SQLITE_OK) {
        return Error(sql);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Commit(const CommitRecord& record) override {
    const absl::MutexLock lock(&mutex_);
    return Insert(record);
  }

  absl::Status CommitAll(absl::Span<const CommitRecord> records) {
    const absl::MutexLock lock(&mutex_);
    if (absl::Status status = Step(begin_); !status.ok()) return status;
    for (const CommitRecord& record : records) {
      if (absl::Status status = Insert(record); !status.ok()) return status;
    }
    return Step(commit_);
  }

  std::unique_ptr<CommitStream> NewStream(size_t outstanding_max) override {
    return std::make_unique<BatchStream>(
        outstanding_max, [this](absl::Span<const CommitRecord> all) { return CommitAll(all); });
  }

  absl::Status Check(absl::Span<const CommitRecord> records) override {
    const absl::MutexLock lock(&mutex_);
    for (const CommitRecord& record : records) {
      Bind(select_, 1, record.key);
      const bool found = sqlite3_step(select_) == SQLITE_ROW &&
                         std::string_view(static_cast<const char*>(sqlite3_column_blob(select_, 0)),
                                          sqlite3_column_bytes(select_, 0)) == record.value;
      sqlite3_reset(select_);
      if (!found) return MissingRecord("sqlite", record);
    }
    return absl::OkStatus();
  }

 private:
  static void Bind(sqlite3_stmt* statement, int index, std::string_view bytes) {
    sqlite3_bind_blob(statement, index, bytes.data(), static_cast<int>(bytes.size()),
                      SQLITE_STATIC);
  }
  absl::Status Error(const char* what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return absl::InternalError(absl::StrCat("sqlite: ", what, ": ", sqlite3_errmsg(database_)));
  }
  absl::Status Step(sqlite3_stmt* statement) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? absl::OkStatus() : Error("step");
  }
  absl::Status Insert(const CommitRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Bind(insert_, 1, record.key);
    Bind(insert_, 2, record.value);
    return Step(insert_);
  }

  absl::Mutex mutex_;
  sqlite3* const database_;
  sqlite3_stmt* insert_ ABSL_GUARDED_BY(mutex_) = nullptr;
  sqlite3_stmt* begin_ ABSL_GUARDED_BY(mutex_) = nullptr;
  sqlite3_stmt* commit_ ABSL_GUARDED_BY(mutex_) = nullptr;
  sqlite3_stmt* select_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace

OpenedSystem OpenSqlite(const std::string& directory, size_t commits_max) {
  sqlite3* database = nullptr;
  const int code = sqlite3_open((directory + "/sqlite.db").c_str(), &database);
  auto system = std::make_unique<Sqlite>(database);
  if (code != SQLITE_OK) return absl::InternalError("sqlite: open");
  if (absl::Status status = system->Prepare(); !status.ok()) return status;
  return system;
}

}  // namespace millrace
