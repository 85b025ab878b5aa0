#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "millrace/storage/file_system.h"
#include "millrace/storage/log_files.h"
#include "millrace/storage/log_reader.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// Reads a whole log and changes nothing: which files lie in its directory, what each is, and every
// batch from the floor on. Recovery begins with it; to verify a log is no more than this. Owned by
// the thread that opens the log.
class LogSurvey {
 public:
  // Everything must outlive the survey.
  LogSurvey(FileSystem& file_system, const std::string& directory, const LogStart& start,
            ReplayBatch replay, LogReport& report)
      : file_system_(file_system),
        directory_(directory),
        start_(start),
        reader_(file_system, directory, start, replay, report) {}

  // Hands every batch to `replay`, in version order. NotFound if there is no such directory;
  // DataLoss, with file and offset, if something that was durable is damaged, missing or out of
  // order; an error of `replay` as it is; else that of the file system.
  absl::Status Run();

  // Names, from the floor on, of the log files in use, ascending; and what lies below the floor.
  const std::vector<LogFileId>& read() const { return read_; }
  const std::vector<uint64_t>& below_floor() const { return below_floor_; }
  const std::vector<uint64_t>& spares() const { return spares_; }
  // The last log file, if it was made ready and never written; not among those read.
  std::optional<uint64_t> unwritten() const { return unwritten_; }
  // Files that were under way, by name.
  const std::vector<std::string>& unfinished() const { return unfinished_; }
  // No group anywhere carries a number above it.
  uint64_t number_max() const { return number_max_; }
  const LogReader& reader() const { return reader_; }
  LogReader& reader() { return reader_; }

 private:
  absl::Status ListFiles();
  absl::Status FindFloor();
  absl::Status FindUnwritten();
  absl::Status ReplayFiles();
  std::string LogPath(uint64_t name) const { return JoinPath(directory_, LogFileName(name)); }

  FileSystem& file_system_;
  const std::string& directory_;
  const LogStart start_;
  LogReader reader_;

  std::vector<uint64_t> names_;  // Of log files, from the floor on.
  std::vector<uint64_t> below_floor_;
  std::vector<uint64_t> spares_;
  std::vector<std::string> unfinished_;
  std::optional<uint64_t> unwritten_;
  std::vector<LogFileId> read_;
  uint64_t number_max_ = 0;
};

}  // namespace millrace::storage
