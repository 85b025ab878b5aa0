#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/environment.h"
#include "millrace/storage/live_view.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/row_view.h"

namespace millrace::storage {

// The newest state of rows, what was accepted a moment ago included: what commits are validated
// against. Owned by the Committer thread.
class CurrentRows {
 public:
  explicit CurrentRows(Environment& environment) : environment_(environment) {}

  // The buffers to look through before LMDB, newest first. Needs no memory.
  void SetBuffers(std::shared_ptr<const BufferList> buffers) { buffers_ = std::move(buffers); }
  // Ends the read transaction; the next Find begins a new one. Called once a group, and before a
  // buffer that LMDB holds is dropped, so that nothing falls between the two.
  void Renew() { transaction_.reset(); }

  // The row, or nothing if there is none (never written, or deleted). The views end with the next
  // call of Renew. DataLoss names a damaged row.
  absl::StatusOr<std::optional<CurrentRow>> Find(std::string_view row_key);
  // All of it, for whoever needs more than one row. Ends with the next call of Renew or SetBuffers.
  absl::StatusOr<RowView> View();

 private:
  absl::Status Begin();

  Environment& environment_;
  std::shared_ptr<const BufferList> buffers_ = std::make_shared<const BufferList>();
  std::optional<ReadTransaction> transaction_;
};

}  // namespace millrace::storage
