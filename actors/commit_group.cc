#include "millrace/actors/commit_group.h"

#include "millrace/storage/logged_batch.h"

namespace millrace {

std::string& CommitGroup::OpenBatch(storage::CommitToken token) {
  std::string& buffer = group_.OpenBatch();
  buffer_ = &buffer;
  open_begin_ = buffer.size();
  storage::AppendBatchToken(token, &buffer);
  return buffer;
}

void CommitGroup::AbandonBatch() {
  group_.AbandonBatch();
}

absl::StatusOr<storage::Version> CommitGroup::AcceptBatch(storage::L0Buffer& l0, size_t row_count) {
  const Span span{
      .begin = open_begin_, .bytes = buffer_->size() - open_begin_, .version = next_version()};
  absl::Status status = log_.Reserve(group_.bytes());
  if (status.ok()) {
    status = l0.Reserve(uninserted_rows_ + row_count, uninserted_bytes_ + span.bytes);
  }
  if (!status.ok()) {
    group_.AbandonBatch();
    return status;
  }
  group_.CloseBatch();
  uninserted_.push_back(span);
  uninserted_rows_ += row_count;
  uninserted_bytes_ += span.bytes;
  return span.version;
}

// All of them in one call, so that their searches overlap.
void CommitGroup::InsertInto(storage::L0Buffer& l0) {
  if (uninserted_.empty()) return;
  rows_.clear();
  storage::CommitToken token;
  for (const Span& span : uninserted_) {
    // What was accepted a moment ago can be read.
    storage::ReadLoggedBatch(std::string_view(*buffer_).substr(span.begin, span.bytes),
                             span.version, &rows_, &token)
        .IgnoreError();
  }
  l0.Insert(rows_);
  rows_.clear();
  uninserted_.clear();
  uninserted_rows_ = 0;
  uninserted_bytes_ = 0;
}

absl::Status CommitGroup::Write(bool sync) {
  absl::Status status = log_.Append();
  if (status.ok() && sync) status = log_.Sync();
  return status;
}

}  // namespace millrace
