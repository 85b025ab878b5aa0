#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

#include "millrace/storage/file_system.h"
#include "millrace/storage/log_files.h"
#include "millrace/storage/log_reader.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// The log that recovery leaves behind. Move-only value.
struct RecoveredLog {
  LogFileId current;
  std::unique_ptr<File> file;  // The current one; everything in it is durable.
  uint64_t file_bytes = 0;     // Its size.
  uint64_t end_offset = 0;     // Of its end mark.
  Version last_version = kNoVersion;
  LogFiles::Initial files;
};

// Reads the log from the floor on, hands every batch to `replay` in version order, cuts a torn
// tail, and rewrites the last file under a new number, above any that was used before: no file of
// an earlier life is ever appended to. A crash or error at any point leaves a log that recovers to
// the same batches. Files below the floor are not read; they are listed as older.
//
// DataLoss, with file and offset, if something that was durable is damaged, missing or out of
// order; an error of `replay` as it is; else that of the file system. `report` is filled as far as
// recovery came.
absl::StatusOr<RecoveredLog> RecoverLog(FileSystem& file_system, const CommitLogOptions& options,
                                        const LogStart& start, ReplayBatch replay,
                                        LogReport& report);

}  // namespace millrace::storage
