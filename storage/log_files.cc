#include "millrace/storage/log_files.h"

#include <algorithm>
#include <utility>

#include "millrace/storage/log_format.h"

namespace millrace::storage {

LogFiles::LogFiles(FileSystem& file_system, const CommitLogOptions& options, Initial initial)
    : file_system_(file_system),
      options_(options),
      zeros_(std::min(options.preallocate_step_bytes, options.file_bytes), '\0'),
      older_(std::move(initial.older)),
      spares_(std::move(initial.spares)),
      next_number_(initial.next_number) {
}

absl::StatusOr<bool> LogFiles::Prepare() {
  absl::MutexLock preparing(&preparation_);
  uint64_t number = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) return failure_;
    if (next_ != nullptr) return false;
    // It cannot change meanwhile: whoever takes the next file waits for it to be ready.
    number = next_number_;
  }
  if (filling_ == nullptr) {
    if (absl::Status s = OpenSpare(); !s.ok()) return s;
  }
  if (filling_ == nullptr) {
    if (absl::Status s = BeginFile(); !s.ok()) return s;
  }
  if (filled_bytes_ < options_.file_bytes) {
    if (absl::Status s = ExtendFile(); !s.ok()) return Discard(s);
    if (filled_bytes_ < options_.file_bytes) {
      prepared_bytes_.store(filled_bytes_, std::memory_order_relaxed);
      return true;
    }
  }
  if (absl::Status s = PublishFile(number); !s.ok()) return s;
  return false;
}

// Leaves filling_ null if there is no spare.
absl::Status LogFiles::OpenSpare() {
  uint64_t spare = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (spares_.empty()) return absl::OkStatus();
    spare = spares_.back();
    spares_.pop_back();
  }
  absl::StatusOr<std::unique_ptr<File>> file =
      file_system_.Open(Path(SpareFileName(spare)), OpenMode::kReadWrite);
  if (!file.ok()) return file.status();
  // It is shorter if it was made under other options.
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  filling_ = *std::move(file);
  filled_bytes_ = std::min(*size, options_.file_bytes);
  return absl::OkStatus();
}

absl::Status LogFiles::BeginFile() {
  const std::string path = Path(kNextFileName);
  if (absl::Status s = file_system_.Remove(path); !s.ok() && !absl::IsNotFound(s)) return s;
  absl::StatusOr<std::unique_ptr<File>> file = file_system_.Open(path, OpenMode::kCreateNew);
  if (!file.ok()) return file.status();
  filling_ = *std::move(file);
  filled_bytes_ = 0;
  return absl::OkStatus();
}

absl::Status LogFiles::ExtendFile() {
  const uint64_t step = std::min<uint64_t>(zeros_.size(), options_.file_bytes - filled_bytes_);
  if (absl::Status s = filling_->Write(filled_bytes_, std::string_view(zeros_).substr(0, step));
      !s.ok()) {
    return s;
  }
  filled_bytes_ += step;
  return filling_->Sync();
}

// Nothing was promised about the file under way, so it can go, and with it whatever a failed sync
// may have lost. On a full disk this also gives the space back.
absl::Status LogFiles::Discard(absl::Status cause) {
  const std::string path = filling_->path();
  filling_ = nullptr;
  prepared_bytes_.store(0, std::memory_order_relaxed);
  file_system_.Remove(path).IgnoreError();
  return cause;
}

absl::Status LogFiles::PublishFile(uint64_t number) {
  const std::string path = Path(LogFileName(number));
  if (absl::Status s = file_system_.Rename(filling_->path(), path); !s.ok()) return Discard(s);
  filling_ = nullptr;
  if (absl::Status s = file_system_.SyncDirectory(options_.directory); !s.ok()) {
    absl::MutexLock lock(&mutex_);
    failure_ = s;
    return s;
  }
  absl::StatusOr<std::unique_ptr<File>> file = file_system_.Open(path, OpenMode::kReadWrite);
  // The next call prepares another file and renames it over this one, which holds nothing.
  if (!file.ok()) return file.status();
  absl::MutexLock lock(&mutex_);
  next_ = *std::move(file);
  prepared_bytes_.store(options_.file_bytes, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<File>> LogFiles::TakeNext(const LogFileId& current) {
  bool more = true;
  while (more) {
    absl::StatusOr<bool> step = Prepare();
    if (!step.ok()) return step.status();
    more = *step;
  }
  absl::MutexLock lock(&mutex_);
  older_.push_back(current);
  ++next_number_;
  prepared_bytes_.store(0, std::memory_order_relaxed);
  return std::move(next_);
}

absl::Status LogFiles::Recycle(uint64_t floor) {
  absl::MutexLock lock(&mutex_);
  if (!failure_.ok()) return failure_;
  while (!older_.empty() && older_.front().number < floor) {
    const LogFileId file = older_.front();
    const std::string path = Path(LogFileName(file.name));
    // The renaming need not be durable here: Prepare syncs the directory before the file is used.
    const bool keep = spares_.size() < static_cast<size_t>(options_.spare_files_max);
    absl::Status s = keep ? file_system_.Rename(path, Path(SpareFileName(file.number)))
                          : file_system_.Remove(path);
    if (!s.ok()) return s;
    if (keep) spares_.push_back(file.number);
    older_.erase(older_.begin());
  }
  return absl::OkStatus();
}

}  // namespace millrace::storage
