#include "bench/commit_system.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace millrace {

BatchStream::BatchStream(size_t records_max, CommitAll commit_all)
    : records_max_(records_max), commit_all_(std::move(commit_all)) {
  copies_.reserve(2 * records_max);
}

absl::Status BatchStream::Add(const CommitRecord& record) {
  copies_.emplace_back(record.key);
  copies_.emplace_back(record.value);
  return copies_.size() < 2 * records_max_ ? absl::OkStatus() : Finish();
}

absl::Status BatchStream::Finish() {
  std::vector<CommitRecord> records;
  for (size_t i = 0; i < copies_.size(); i += 2) records.push_back({copies_[i], copies_[i + 1]});
  const absl::Status status = records.empty() ? absl::OkStatus() : commit_all_(records);
  copies_.clear();
  return status;
}

absl::Status MissingRecord(const char* system, const CommitRecord& record) {
  return absl::DataLossError(absl::StrCat(system, ": record ",
                                          absl::CHexEscape({record.key.data(), record.key.size()}),
                                          " was committed and is missing or has another value"));
}

}  // namespace millrace
