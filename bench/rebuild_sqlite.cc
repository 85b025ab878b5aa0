#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/rebuild_system.h"
#include <sqlite3.h>

namespace millrace {
namespace {

struct Close {
  void operator()(sqlite3* database) const { sqlite3_close(database); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

absl::Status Execute(sqlite3* database, const char* sql) {
  if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("sqlite: ", sql, ": ", sqlite3_errmsg(database)));
}

absl::Status Fill(sqlite3* database, int64_t record_count) {
  for (const char* sql :
       {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA cache_size=-65536",
        "CREATE TABLE t(k TEXT PRIMARY KEY, n INTEGER, v TEXT) WITHOUT ROWID", "BEGIN"}) {
    if (absl::Status status = Execute(database, sql); !status.ok()) return status;
  }
  sqlite3_stmt* prepared = nullptr;
  if (sqlite3_prepare_v2(database, "INSERT INTO t VALUES(?, ?, ?)", -1, &prepared, nullptr) !=
      SQLITE_OK) {
    return absl::InternalError("sqlite: prepare");
  }
  const std::unique_ptr<sqlite3_stmt, Close> insert(prepared);
  const std::string text(kRebuildTextBytes, 'x');
  for (int64_t i = 0; i < record_count; ++i) {
    const std::string id = RebuildId(i);
    sqlite3_bind_text(prepared, 1, id.data(), static_cast<int>(id.size()), SQLITE_STATIC);
    sqlite3_bind_int64(prepared, 2, RebuildNumber(i));
    sqlite3_bind_text(prepared, 3, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
    if (sqlite3_step(prepared) != SQLITE_DONE) return absl::InternalError("sqlite: insert");
    sqlite3_reset(prepared);
  }
  return Execute(database, "COMMIT");
}

}  // namespace

BuildRate BuildSqlite(const std::string& directory, int64_t record_count) {
  sqlite3* opened = nullptr;
  const int code = sqlite3_open((directory + "/sqlite").c_str(), &opened);
  const std::unique_ptr<sqlite3, Close> database(opened);
  if (code != SQLITE_OK) return absl::InternalError("sqlite: open");
  absl::Status status = Fill(opened, record_count);
  if (!status.ok()) return status;
  const absl::Time begin = absl::Now();
  status = Execute(opened, "CREATE INDEX i ON t(n)");
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  if (!status.ok()) return status;
  return static_cast<double>(record_count) / seconds;
}

}  // namespace millrace
