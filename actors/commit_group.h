#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "millrace/messages/commit.h"
#include "millrace/runtime/reply.h"
#include "millrace/storage/commit_log.h"
#include "millrace/storage/l0_buffer.h"
#include "millrace/storage/row_key.h"

namespace millrace {

// The batches of one turn of the Committer, between their acceptance and their answers: one record
// of the log, and rows that are in L0 but that no reader sees yet. Owned by the Committer thread.
class CommitGroup {
 public:
  explicit CommitGroup(storage::CommitLog& log) : log_(log), group_(log.BeginGroup()) {}

  // Opens a batch and returns the buffer that its effects are appended to; the token is in it.
  std::string& OpenBatch(storage::CommitToken token);
  // Forgets it.
  void AbandonBatch();
  // Accepts it as the next version, which it returns. ResourceExhausted, with nothing changed, if
  // the log or L0 has no room for it.
  // `row_count` is at least the number of its effects.
  absl::StatusOr<storage::Version> AcceptBatch(storage::L0Buffer& l0, size_t row_count);

  // Brings what was accepted into L0, for those that are validated after it.
  void InsertInto(storage::L0Buffer& l0);

  // Writes the group, and syncs it if `sync`; then it is empty again. An error is final: the log
  // takes nothing any more.
  absl::Status Write(bool sync);

  bool empty() const { return group_.empty(); }
  size_t bytes() const { return group_.bytes(); }
  // What the next accepted batch will get.
  storage::Version next_version() const { return group_.first_version() + group_.batch_count(); }
  storage::Version last_version() const {
    return group_.first_version() + group_.batch_count() - 1;
  }

 private:
  // A batch's effects within the group's buffer, which may move while it grows.
  struct Span {
    size_t begin;
    size_t bytes;
    storage::Version version;
  };

  storage::CommitLog& log_;
  storage::LogGroup& group_;
  const std::string* buffer_ = nullptr;
  size_t open_begin_ = 0;
  std::vector<Span> uninserted_;
  size_t uninserted_rows_ = 0;
  size_t uninserted_bytes_ = 0;
  std::vector<storage::L0Row> rows_;
};

}  // namespace millrace
