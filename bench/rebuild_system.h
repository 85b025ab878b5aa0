#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

namespace millrace {

// What is indexed: records of about 120 bytes, each with a number. The order of the numbers is none
// of the records'.
inline std::string RebuildId(int64_t record) {
  return absl::StrFormat("p%015d", record);
}
inline int64_t RebuildNumber(int64_t record) {
  return static_cast<int64_t>((static_cast<uint64_t>(record) * 0x9e3779b97f4a7c15) >> 16);
}
inline constexpr size_t kRebuildTextBytes = 88;

// Fills a store in an empty directory with so many records, untimed; then builds the index over all
// of them. Entries a second, from the order to build to the last sync. Each rival is a target of
// its own.
using BuildRate = absl::StatusOr<double>;
BuildRate BuildMillrace(const std::string& directory, int64_t record_count);
BuildRate BuildMillraceByScan(const std::string& directory, int64_t record_count);
BuildRate BuildMillraceByMembers(const std::string& directory, int64_t record_count);
// Scan, sort in memory, append 10,000 entries a transaction: what any build does at least.
BuildRate BuildLmdbLimit(const std::string& directory, int64_t record_count);
// The same without sorting.
BuildRate BuildLmdbUnsorted(const std::string& directory, int64_t record_count);
BuildRate BuildSqlite(const std::string& directory, int64_t record_count);
// Scan, sort in memory, write one sorted file, take it in.
BuildRate BuildRocksdb(const std::string& directory, int64_t record_count);

// As Familia does it, an object mapper in Ruby over Redis.
BuildRate BuildRedis(const std::string& directory, int64_t record_count);

}  // namespace millrace
