#include "millrace/storage/commit_log.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace millrace::storage {
namespace {

absl::Status CheckOptions(const CommitLogOptions& options) {
  if (options.directory.empty()) {
    return absl::InvalidArgumentError("the commit log needs a directory");
  }
  if (options.file_bytes < kLogFileBytesMin || options.file_bytes > kLogFileBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("log files of ", options.file_bytes,
                                                   " bytes: they must have ", kLogFileBytesMin,
                                                   " to ", kLogFileBytesMax));
  }
  if (options.spare_files_max < 0 || options.preallocate_step_bytes == 0) {
    return absl::InvalidArgumentError(
        "the commit log needs spare_files_max >= 0 and preallocate_step_bytes > 0");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<CommitLog>> CommitLog::Open(FileSystem& file_system,
                                                           const CommitLogOptions& options,
                                                           const LogStart& start,
                                                           ReplayBatch replay, LogReport* report) {
  if (absl::Status s = CheckOptions(options); !s.ok()) return s;
  LogReport unwanted;
  absl::StatusOr<RecoveredLog> recovered =
      RecoverLog(file_system, options, start, replay, report != nullptr ? *report : unwanted);
  if (!recovered.ok()) return recovered.status();
  return std::unique_ptr<CommitLog>(new CommitLog(file_system, options, *std::move(recovered)));
}

CommitLog::CommitLog(FileSystem& file_system, const CommitLogOptions& options,
                     RecoveredLog recovered)
    : options_(options),
      epoch_(recovered.current.number),
      files_(file_system, options, std::move(recovered.files)),
      current_(recovered.current),
      file_(std::move(recovered.file)),
      file_bytes_(recovered.file_bytes),
      last_version_(recovered.last_version),
      end_offset_(recovered.end_offset),
      synced_version_(recovered.last_version) {
  BeginGroup();
}

LogGroup& CommitLog::BeginGroup() {
  group_.Clear(last_version_ + 1);
  return group_;
}

absl::Status CommitLog::Reserve(size_t bytes) {
  if (!failure_.ok()) return failure_;
  if (Fits(bytes)) return absl::OkStatus();
  if (bytes + kFileTailBytes > options_.file_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a group of ", bytes, " bytes does not fit a log file of ", options_.file_bytes, " bytes"));
  }
  return RollOver();
}

bool CommitLog::Fits(size_t bytes) const {
  return end_offset_.load(std::memory_order_relaxed) + bytes + kFileTailBytes <= file_bytes_;
}

// First the sync, then the switch: a group in a later file says that this one is whole.
absl::Status CommitLog::RollOver() {
  if (absl::Status s = Sync(); !s.ok()) return s;
  absl::StatusOr<std::unique_ptr<File>> next = files_.TakeNext(current_);
  if (!next.ok()) return next.status();
  file_ = *std::move(next);
  file_bytes_ = options_.file_bytes;
  current_ = {.name = current_.number + 1, .number = current_.number + 1};
  end_offset_.store(0, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status CommitLog::Append() {
  if (!failure_.ok()) return failure_;
  if (group_.empty()) return absl::OkStatus();
  if (absl::Status s = Reserve(group_.bytes()); !s.ok()) return Fail(s);
  std::string& record = group_.buffer_;
  const GroupHeader header = {.length = static_cast<uint32_t>(record.size()),
                              .batch_count = static_cast<uint32_t>(group_.batch_count_),
                              .file_number = current_.number,
                              .first_version = last_version_ + 1,
                              .durable_version = synced_version_.load(std::memory_order_relaxed)};
  SealGroup(header, record.data());
  record.append(kEndMarkBytes, '\0');
  if (absl::Status s = WriteAtEnd(record); !s.ok()) return s;
  last_version_ = header.next_version() - 1;
  BeginGroup();
  return absl::OkStatus();
}

// `record` includes the end mark, which the next write replaces.
absl::Status CommitLog::WriteAtEnd(std::string_view record) {
  const uint64_t offset = end_offset_.load(std::memory_order_relaxed);
  if (absl::Status s = file_->Write(offset, record); !s.ok()) return Fail(s);
  end_offset_.store(offset + record.size() - kEndMarkBytes, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status CommitLog::Sync() {
  if (!failure_.ok()) return failure_;
  if (synced_version_.load(std::memory_order_relaxed) == last_version_) return absl::OkStatus();
  return SyncFile();
}

absl::Status CommitLog::SyncFile() {
  if (absl::Status s = file_->Sync(); !s.ok()) return Fail(s);
  synced_version_.store(last_version_, std::memory_order_release);
  return absl::OkStatus();
}

absl::Status CommitLog::Recycle(uint64_t floor) {
  if (failed_.load(std::memory_order_acquire)) {
    return absl::UnavailableError("the commit log failed: its files are kept for the next open");
  }
  return files_.Recycle(floor);
}

// Everything is synced before the closing group is written, so that the group can say so.
absl::Status CommitLog::CloseCleanly() {
  if (absl::Status s = Sync(); !s.ok()) return s;
  const GroupHeader closing = {.file_number = current_.number,
                               .first_version = last_version_ + 1,
                               .durable_version = last_version_};
  std::string record(kGroupHeaderBytes, '\0');
  SealGroup(closing, record.data());
  // At the beginning of a file a group without batches is half an opening.
  if (end_offset_.load(std::memory_order_relaxed) == 0) record += record;
  record.append(kEndMarkBytes, '\0');
  if (absl::Status s = WriteAtEnd(record); !s.ok()) return s;
  if (absl::Status s = SyncFile(); !s.ok()) return s;
  failure_ = absl::FailedPreconditionError("the commit log is closed");
  return absl::OkStatus();
}

bool CommitLog::wants_next_file() const {
  const uint64_t written = end_offset_.load(std::memory_order_relaxed);
  const uint64_t begin = options_.file_bytes / 4;
  if (written <= begin) return false;
  return files_.prepared_bytes() < std::min(options_.file_bytes, 2 * (written - begin));
}

absl::StatusOr<bool> CommitLog::PrepareStep() {
  return files_.Prepare();
}

absl::Status CommitLog::Fail(absl::Status error) {
  if (failure_.ok()) failure_ = std::move(error);
  // Pairs with the acquire in Recycle: no file that a failed log may need is given up.
  failed_.store(true, std::memory_order_release);
  return failure_;
}

}  // namespace millrace::storage
