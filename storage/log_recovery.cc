#include "millrace/storage/log_recovery.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "millrace/storage/log_format.h"
#include "millrace/storage/log_survey.h"

namespace millrace::storage {
namespace {

// One recovery, in the order of its functions.
class LogRecovery {
 public:
  LogRecovery(FileSystem& file_system, const CommitLogOptions& options, const LogStart& start,
              ReplayBatch replay, LogReport& report)
      : file_system_(file_system),
        options_(options),
        survey_(file_system, options.directory, start, replay, report) {}

  absl::StatusOr<RecoveredLog> Run();

 private:
  absl::Status MakeDirectory();
  absl::Status Tidy();
  absl::Status Rewrite(RecoveredLog* log);
  absl::StatusOr<std::unique_ptr<File>> CreateRewriteFile(uint64_t begin, uint64_t bytes);
  absl::Status PutInPlace(const std::string& path);
  absl::Status WriteImage(File& file, const GroupHeader& opening);
  absl::Status RemoveExtraSpares();
  std::vector<LogFileId> OlderFiles() const;

  std::string Path(std::string_view name) const { return JoinPath(options_.directory, name); }
  std::string LogPath(uint64_t name) const { return Path(LogFileName(name)); }

  FileSystem& file_system_;
  const CommitLogOptions& options_;
  LogSurvey survey_;
  std::vector<uint64_t> spares_;
};

absl::StatusOr<RecoveredLog> LogRecovery::Run() {
  if (absl::Status s = MakeDirectory(); !s.ok()) return s;
  if (absl::Status s = survey_.Run(); !s.ok()) return s;
  if (absl::Status s = Tidy(); !s.ok()) return s;
  RecoveredLog log;
  if (absl::Status s = Rewrite(&log); !s.ok()) return s;
  if (absl::Status s = RemoveExtraSpares(); !s.ok()) return s;
  log.last_version = survey_.reader().last_version();
  log.files.older = OlderFiles();
  log.files.spares = spares_;
  log.files.next_number = log.current.number + 1;
  return log;
}

absl::Status LogRecovery::MakeDirectory() {
  if (absl::Status s = file_system_.CreateDirectory(options_.directory); !s.ok()) return s;
  return file_system_.SyncDirectory(ParentDirectory(options_.directory));
}

// Files that were under way go: never reused, because a rewrite that a crash cut short may hold
// groups of the number that this one will get. A file that was made ready and never written becomes
// a spare, so that the last one in use is the last of all.
absl::Status LogRecovery::Tidy() {
  for (const std::string& name : survey_.unfinished()) {
    if (absl::Status s = file_system_.Remove(Path(name)); !s.ok()) return s;
  }
  spares_ = survey_.spares();
  if (!survey_.unwritten().has_value()) return absl::OkStatus();
  const uint64_t name = *survey_.unwritten();
  spares_.push_back(name);
  if (absl::Status s = file_system_.Rename(LogPath(name), Path(SpareFileName(name))); !s.ok()) {
    return s;
  }
  return file_system_.SyncDirectory(options_.directory);
}

// The last file's groups go into another file under a new number, which replaces the last file in
// one step: before it the old log stands, after it the new one.
absl::Status LogRecovery::Rewrite(RecoveredLog* log) {
  const std::vector<LogFileId>& read = survey_.read();
  log->current = {.name = read.empty() ? 1 : read.back().name, .number = survey_.number_max() + 1};
  const LogReader& reader = survey_.reader();
  const GroupHeader opening = {.file_number = log->current.number,
                               .first_version = reader.groups_first_version(),
                               .durable_version = reader.last_version()};
  const uint64_t end = kOpeningBytes + reader.groups_bytes();
  const uint64_t bytes = std::max(options_.file_bytes, end + kClosingBytes);
  absl::StatusOr<std::unique_ptr<File>> file = CreateRewriteFile(end, bytes);
  if (!file.ok()) return file.status();
  if (absl::Status s = WriteImage(**file, opening); !s.ok()) return s;
  if (absl::Status s = (*file)->Sync(); !s.ok()) return s;
  const std::string path = LogPath(log->current.name);
  if (absl::Status s = PutInPlace(path); !s.ok()) return s;
  // Opened again, so that its errors bear its name.
  file = file_system_.Open(path, OpenMode::kReadWrite);
  if (!file.ok()) return file.status();
  log->file = *std::move(file);
  log->file_bytes = bytes;
  log->end_offset = end;
  return absl::OkStatus();
}

// A file of `bytes` to write up to `begin`. A spare of full size saves writing the zeros behind:
// what it holds carries smaller numbers.
absl::StatusOr<std::unique_ptr<File>> LogRecovery::CreateRewriteFile(uint64_t begin,
                                                                     uint64_t bytes) {
  const std::string path = Path(kRewriteFileName);
  if (!spares_.empty()) {
    const std::string spare = Path(SpareFileName(spares_.back()));
    absl::StatusOr<std::unique_ptr<File>> file = file_system_.Open(spare, OpenMode::kReadWrite);
    if (!file.ok()) return file.status();
    const absl::StatusOr<uint64_t> size = (*file)->Size();
    if (!size.ok()) return size.status();
    if (*size == bytes) {
      if (absl::Status s = file_system_.Rename(spare, path); !s.ok()) return s;
      spares_.pop_back();
      return file;
    }
  }
  absl::StatusOr<std::unique_ptr<File>> file = file_system_.Open(path, OpenMode::kCreateNew);
  if (!file.ok()) return file.status();
  const std::string zeros(std::min(bytes, options_.preallocate_step_bytes), '\0');
  for (uint64_t at = begin; at < bytes; at += zeros.size()) {
    const std::string_view step = std::string_view(zeros).substr(0, bytes - at);
    if (absl::Status s = (*file)->Write(at, step); !s.ok()) return s;
  }
  return file;
}

// Where the two files can be exchanged, the old one becomes a spare, and the next recovery has no
// zeros to write. It must not be touched, nor renamed, before the exchange is durable.
absl::Status LogRecovery::PutInPlace(const std::string& path) {
  const std::string rewritten = Path(kRewriteFileName);
  absl::Status exchanged = survey_.read().empty() ? absl::UnimplementedError("")
                                                  : file_system_.Exchange(rewritten, path);
  if (absl::IsUnimplemented(exchanged)) {
    if (absl::Status s = file_system_.Rename(rewritten, path); !s.ok()) return s;
    return file_system_.SyncDirectory(options_.directory);
  }
  if (!exchanged.ok()) return exchanged;
  if (absl::Status s = file_system_.SyncDirectory(options_.directory); !s.ok()) return s;
  const uint64_t number = survey_.read().back().number;
  spares_.push_back(number);
  return file_system_.Rename(rewritten, Path(SpareFileName(number)));
}

absl::Status LogRecovery::WriteImage(File& file, const GroupHeader& opening) {
  char pair[kOpeningBytes] = {};
  SealGroup(opening, pair);
  SealGroup(opening, pair + kGroupHeaderBytes);
  if (absl::Status s = file.Write(0, std::string_view(pair, sizeof(pair))); !s.ok()) return s;
  const std::string_view groups =
      survey_.reader().RenumberedGroups(opening.file_number, opening.durable_version);
  if (absl::Status s = file.Write(kOpeningBytes, groups); !s.ok()) return s;
  return file.Write(kOpeningBytes + groups.size(), std::string(kEndMarkBytes, '\0'));
}

absl::Status LogRecovery::RemoveExtraSpares() {
  while (spares_.size() > static_cast<size_t>(options_.spare_files_max)) {
    const std::string path = Path(SpareFileName(spares_.back()));
    if (absl::Status s = file_system_.Remove(path); !s.ok()) return s;
    spares_.pop_back();
  }
  return absl::OkStatus();
}

// Those below the floor were not read, but names and numbers have no gaps.
std::vector<LogFileId> LogRecovery::OlderFiles() const {
  const std::vector<uint64_t>& below = survey_.below_floor();
  const std::vector<LogFileId>& read = survey_.read();
  std::vector<LogFileId> older;
  for (size_t i = 0; i < below.size(); ++i) {
    const uint64_t next = i + 1 < below.size() ? below[i + 1] : read.front().name;
    older.push_back({.name = below[i], .number = next - 1});
  }
  if (!read.empty()) older.insert(older.end(), read.begin(), read.end() - 1);
  return older;
}

}  // namespace

absl::StatusOr<RecoveredLog> RecoverLog(FileSystem& file_system, const CommitLogOptions& options,
                                        const LogStart& start, ReplayBatch replay,
                                        LogReport& report) {
  return LogRecovery(file_system, options, start, replay, report).Run();
}

}  // namespace millrace::storage
