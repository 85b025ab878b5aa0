#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace millrace::storage {

// What a store's directory is made of. All functions are thread-safe.
inline constexpr char kLockFileName[] = "LOCK";
inline constexpr char kDatabaseFileName[] = "store.mdb";
inline constexpr char kLogDirectoryName[] = "log";
inline constexpr char kRunsDirectoryName[] = "runs";

// OK if `directory` holds a store's database file, or may become a store: it is empty (files of a
// creation cut short aside), and `create_if_missing`. Then it exists; its parent must exist.
// NotFound if there is no store and none is to be made; FailedPrecondition if this is no directory
// or holds something else; DataLoss if a log lies there without its database. Changes nothing but a
// missing directory.
absl::Status PrepareStoreDirectory(const std::string& directory, bool create_if_missing);

// Bytes that this process can still write to the file system of `path`.
absl::StatusOr<uint64_t> DiskFreeBytes(const std::string& path);

}  // namespace millrace::storage
