#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/file_system.h"
#include "millrace/storage/log_files.h"
#include "millrace/storage/log_format.h"
#include "millrace/storage/log_reader.h"
#include "millrace/storage/log_recovery.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// The commit log: numbered files of group records (log_format.h). A group is one record, one write
// and, where it must be durable, one Sync; neither changes a file's size or any other metadata,
// because files are filled with zeros and synced before they are used. A file is synced before the
// next is used, whatever the durability.
//
// After a write or sync has failed the log is done: every further call answers that first error,
// nothing is tried again, nothing is recycled. What the failed group's fate is, the next Open
// finds.
//
// Owned by the Committer thread; the functions under "Any thread" are thread-safe. Destruction
// neither writes nor syncs: without CloseCleanly it is a crash, which loses nothing that was
// synced.
class CommitLog {
 public:
  // Recovers the log in options.directory (created if missing, not its parents), as RecoverLog
  // says, and begins a new life of it. InvalidArgument for unusable options. `report` may be null.
  // `file_system` outlives the log.
  static absl::StatusOr<std::unique_ptr<CommitLog>> Open(FileSystem& file_system,
                                                         const CommitLogOptions& options,
                                                         const LogStart& start, ReplayBatch replay,
                                                         LogReport* report);

  // The number of the file that began this life of the log; no two lives share one.
  uint64_t epoch() const { return epoch_; }
  // The number of the file being written: the log floor of a buffer that begins now.
  uint64_t current_file() const { return current_.number; }
  // The last version appended or replayed; the next batch gets the one behind it.
  Version last_version() const { return last_version_; }

  // The group to fill next, empty. It is the log's own: adding to it copies nothing twice. What an
  // earlier BeginGroup left there is dropped.
  LogGroup& BeginGroup();

  // Makes room for a group of `bytes` (LogGroup::bytes()), if need be in the next file: then the
  // current one is synced first. To be called before the first batch of a group enters L0, and
  // again as the group grows; it costs nothing while there is room. ResourceExhausted, with the log
  // as good as before, when the disk is full; InvalidArgument if no file could hold the group.
  absl::Status Reserve(size_t bytes);

  // Writes the group of the last BeginGroup, which is empty afterwards, in one write. An empty
  // group is not written. Reserves room itself where that was not done.
  absl::Status Append();

  // Makes everything appended durable: one fdatasync, none if nothing is owed.
  absl::Status Sync();

  // Marks a clean stop and syncs. No call may follow.
  absl::Status CloseCleanly();

  // Any thread:

  // The newest version known durable.
  Version synced_version() const { return synced_version_.load(std::memory_order_acquire); }
  // Whether the next file's preparation is behind. From a quarter of the current file on it grows
  // twice as fast as that: its writes spread among the groups', and it is ready in time.
  bool wants_next_file() const;
  // How many bytes of the next file are zero-filled and synced.
  uint64_t prepared_bytes() const { return files_.prepared_bytes(); }
  // Gives the files below `floor` (the log floor of the published head) up for reuse; the current
  // one never is. They are never read again. Unavailable after a failure: the files are kept.
  absl::Status Recycle(uint64_t floor);
  // One bounded step (256 KiB written and synced) towards the next file. True while there is more
  // to do; false at once if nothing is. Errors are those of Reserve; one may try again.
  absl::StatusOr<bool> PrepareStep();

 private:
  CommitLog(FileSystem& file_system, const CommitLogOptions& options, RecoveredLog recovered);

  bool Fits(size_t bytes) const;
  absl::Status RollOver();
  absl::Status SyncFile();
  absl::Status WriteAtEnd(std::string_view record);
  // Remembers the first error for good.
  absl::Status Fail(absl::Status error);

  const CommitLogOptions options_;
  const uint64_t epoch_;
  LogFiles files_;
  LogFileId current_;
  std::unique_ptr<File> file_;
  uint64_t file_bytes_;
  Version last_version_;
  LogGroup group_;
  absl::Status failure_;
  std::atomic<bool> failed_{false};
  // Written by the Committer, read by anyone. Release and acquire pair in synced_version(): who
  // sees a version there may rely on it. The offset is a hint to wants_next_file().
  std::atomic<uint64_t> end_offset_;
  std::atomic<Version> synced_version_;
};

}  // namespace millrace::storage
