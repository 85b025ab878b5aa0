#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/file_system.h"
#include "millrace/storage/log_files.h"
#include "millrace/storage/log_format.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// What LMDB knows about the log. Value.
struct LogStart {
  // The log floor of the head manifest: replay begins with the file that holds this number. 0 if
  // no flush was published yet: then the log begins with its first file, and may be empty.
  uint64_t floor_file = 0;
  // LMDB holds everything up to here, so the log may begin anywhere up to the version behind it.
  Version flushed_version = kNoVersion;
  // LMDB holds something of versions up to here (its ingested version), so all of them were durable
  // in the log. At least flushed_version.
  Version durable_version = kNoVersion;
};

// A batch of the log. Value; `effects` is valid during the call that gives it.
struct LoggedBatch {
  Version version = kNoVersion;
  std::string_view effects;
};

using ReplayBatch = absl::FunctionRef<absl::Status(const LoggedBatch&)>;

// What recovery saw and did. Value.
struct LogReport {
  uint64_t file_count = 0;   // Files read.
  uint64_t group_count = 0;  // Groups with batches.
  uint64_t batch_count = 0;
  uint64_t replayed_bytes = 0;  // Of those groups.
  uint64_t torn_bytes = 0;      // Of a torn tail that was cut.
  // What an operator should know, each a sentence that names file and offset. Empty after a clean
  // stop, and usually after a crash.
  std::vector<std::string> warnings;
};

// Reads log files in order, checks that their versions are dense, and tells a torn tail from
// damage. Owned by the thread that opens the log.
class LogReader {
 public:
  // Everything must outlive the reader.
  LogReader(FileSystem& file_system, const std::string& directory, const LogStart& start,
            ReplayBatch replay, LogReport& report);

  // Whether the file was made ready and never written, so that the one before is the last in use.
  // DataLoss, or the file system's error, if that cannot be said.
  absl::StatusOr<bool> IsUnwritten(uint64_t name);

  // Hands the batches of the next file to `replay`, then judges its end: `last` allows a torn tail.
  // Returns the number its groups carry.
  absl::StatusOr<uint64_t> Replay(uint64_t name, bool last);

  // The last version read; what LMDB holds if there was none.
  Version last_version() const { return ExpectedVersion() - 1; }
  // The newest version that is known to have been durable.
  Version durable_version() const { return durable_version_; }
  // The groups with batches of the file read last: how many bytes, and their first version (the
  // next version if there are none).
  size_t groups_bytes() const { return groups_end_ - groups_begin_; }
  Version groups_first_version() const;
  // The same groups with another file number and durable version, in one piece. They are changed
  // in place; the view is good until the next call that reads.
  std::string_view RenumberedGroups(uint64_t file_number, Version durable_version);

 private:
  // Reads the file, or its first `bytes_max` bytes.
  absl::Status Load(uint64_t name, uint64_t bytes_max);
  absl::StatusOr<uint64_t> FileNumber(uint64_t name) const;
  absl::Status ReplayGroup(uint64_t name, size_t offset, const GroupHeader& header);
  absl::Status JudgeEnd(const LogFileId& file, size_t offset, const LogRecord& end);
  absl::Status JudgeLastEnd(const LogFileId& file, size_t offset, const LogRecord& end);
  void WarnOfMissingMark(uint64_t name, size_t offset);

  Version ExpectedVersion() const { return next_version_.value_or(start_.flushed_version + 1); }
  std::string Path(uint64_t name) const { return JoinPath(directory_, LogFileName(name)); }
  std::string Place(uint64_t name, uint64_t offset) const;
  absl::Status Damage(uint64_t name, uint64_t offset, std::string_view what) const;
  void Warn(uint64_t name, uint64_t offset, std::string_view what);

  FileSystem& file_system_;
  const std::string& directory_;
  const LogStart start_;
  ReplayBatch replay_;
  LogReport& report_;

  // The version that must come next; none before the first group.
  std::optional<Version> next_version_;
  Version durable_version_;
  std::string previous_end_;  // The place where the file before this one ended.

  std::string data_;  // The file read last.
  size_t groups_begin_ = 0;
  size_t groups_end_ = 0;
};

}  // namespace millrace::storage
