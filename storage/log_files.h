#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

#include "millrace/storage/file_system.h"

namespace millrace::storage {

// Value.
struct CommitLogOptions {
  std::string directory;
  // Bytes of each log file, 4 KiB to 1 GiB. A group must fit into one file.
  uint64_t file_bytes = uint64_t{64} << 20;
  // Files kept for reuse, beside the one made ready.
  int spare_files_max = 2;
  // The next file is filled with zeros in steps of this many bytes, each synced.
  uint64_t preallocate_step_bytes = uint64_t{256} << 10;
};

// A log file that is in use. It was named `name` when it was first used, and its groups carry
// `number`, which is above `name` if recovery rewrote it. The next file's name is `number` + 1.
// Value.
struct LogFileId {
  uint64_t name = 0;
  uint64_t number = 0;
};

// All log files but the one being written: those that hold what LMDB does not hold yet, the spares,
// and the next one, which is filled and synced before it is needed. Thread-safe; Prepare does its
// work outside the lock that the others take.
class LogFiles {
 public:
  // What recovery found. `older` ascends.
  struct Initial {
    std::vector<LogFileId> older;
    std::vector<uint64_t> spares;
    uint64_t next_number = 0;
  };
  LogFiles(FileSystem& file_system, const CommitLogOptions& options, Initial initial);

  // How much of the next file is prepared; file_bytes when it is ready.
  uint64_t prepared_bytes() const { return prepared_bytes_.load(std::memory_order_relaxed); }

  // One step towards the next file: a step of zeros, or its renaming. True while there is more to
  // do. After an error it may be called again and begins a new file, unless the directory could
  // not be synced: then every call answers that error.
  absl::StatusOr<bool> Prepare() ABSL_LOCKS_EXCLUDED(preparation_, mutex_);

  // Takes the next file, making it ready first if nobody did; `current` becomes an older one. The
  // new file's name and number are current.number + 1, and its name is durable.
  absl::StatusOr<std::unique_ptr<File>> TakeNext(const LogFileId& current)
      ABSL_LOCKS_EXCLUDED(preparation_, mutex_);

  // Makes spares of the older files whose number is below `floor`, and removes those beyond the
  // limit. What fails stays in the list and is tried again by the next call.
  absl::Status Recycle(uint64_t floor) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status OpenSpare() ABSL_EXCLUSIVE_LOCKS_REQUIRED(preparation_);
  absl::Status BeginFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(preparation_);
  absl::Status ExtendFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(preparation_);
  absl::Status PublishFile(uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(preparation_);
  absl::Status Discard(absl::Status cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(preparation_);
  std::string Path(std::string_view name) const { return JoinPath(options_.directory, name); }

  FileSystem& file_system_;
  const CommitLogOptions options_;
  const std::string zeros_;
  std::atomic<uint64_t> prepared_bytes_{0};  // A hint, so relaxed order is enough.

  // Held by whoever prepares, during its I/O.
  absl::Mutex preparation_ ABSL_ACQUIRED_BEFORE(mutex_);
  std::unique_ptr<File> filling_ ABSL_GUARDED_BY(preparation_);  // Null if none is under way.
  uint64_t filled_bytes_ ABSL_GUARDED_BY(preparation_) = 0;

  absl::Mutex mutex_;
  std::vector<LogFileId> older_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> spares_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<File> next_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace millrace::storage
