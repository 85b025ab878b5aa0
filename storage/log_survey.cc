#include "millrace/storage/log_survey.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "millrace/storage/log_format.h"

namespace millrace::storage {

absl::Status LogSurvey::Run() {
  if (absl::Status s = ListFiles(); !s.ok()) return s;
  if (absl::Status s = FindFloor(); !s.ok()) return s;
  if (absl::Status s = FindUnwritten(); !s.ok()) return s;
  return ReplayFiles();
}

absl::Status LogSurvey::ListFiles() {
  const absl::StatusOr<std::vector<std::string>> names = file_system_.List(directory_);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    if (const std::optional<uint64_t> number = ParseLogFileName(name)) {
      names_.push_back(*number);
      number_max_ = std::max(number_max_, *number);
    } else if (const std::optional<uint64_t> spare = ParseSpareFileName(name)) {
      spares_.push_back(*spare);
      number_max_ = std::max(number_max_, *spare);
    } else if (name == kNextFileName || name == kRewriteFileName) {
      unfinished_.push_back(name);
    }
  }
  return absl::OkStatus();
}

absl::Status LogSurvey::FindFloor() {
  if (names_.empty() && start_.floor_file == 0) return absl::OkStatus();
  const uint64_t floor = std::max<uint64_t>(start_.floor_file, 1);
  const auto above = std::upper_bound(names_.begin(), names_.end(), floor);
  if (above == names_.begin()) {
    return absl::DataLossError(absl::StrCat("log file ", LogPath(floor),
                                            " is missing at offset 0: ", "the log begins with it"));
  }
  below_floor_.assign(names_.begin(), above - 1);
  names_.erase(names_.begin(), above - 1);
  return absl::OkStatus();
}

// The file behind the last one in use may have been made ready and never written.
absl::Status LogSurvey::FindUnwritten() {
  if (names_.size() < 2) return absl::OkStatus();
  const absl::StatusOr<bool> unwritten = reader_.IsUnwritten(names_.back());
  if (!unwritten.ok()) return unwritten.status();
  if (!*unwritten) return absl::OkStatus();
  unwritten_ = names_.back();
  names_.pop_back();
  return absl::OkStatus();
}

absl::Status LogSurvey::ReplayFiles() {
  for (const uint64_t name : names_) {
    if (!read_.empty() && read_.back().number + 1 != name) {
      return absl::DataLossError(absl::StrCat("log file ", LogPath(read_.back().number + 1),
                                              " is missing between ", LogPath(read_.back().name),
                                              " and ", LogPath(name)));
    }
    const absl::StatusOr<uint64_t> number = reader_.Replay(name, name == names_.back());
    if (!number.ok()) return number.status();
    read_.push_back({.name = name, .number = *number});
    number_max_ = std::max(number_max_, *number);
  }
  if (!read_.empty() && read_.back().number < start_.floor_file) {
    return absl::DataLossError(absl::StrCat("log file ", LogPath(start_.floor_file),
                                            " is missing: the log begins with it, but ends with ",
                                            LogPath(read_.back().name)));
  }
  if (reader_.last_version() < reader_.durable_version()) {
    return absl::DataLossError(absl::StrCat(
        "log ", directory_, " ends with version ", reader_.last_version(), ", but version ",
        reader_.durable_version(), " was durable: its files are missing"));
  }
  return absl::OkStatus();
}

}  // namespace millrace::storage
