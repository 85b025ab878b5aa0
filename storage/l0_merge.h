#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "millrace/storage/l0_buffer.h"
#include "millrace/storage/live_view.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// The rows of several L0 buffers as one ascending sequence: of each row the newest state up to a
// version, tombstones included. Views live as long as the buffers. Thread-compatible.
class L0Merge {
 public:
  // `buffers`, newest first, must outlive the merge.
  L0Merge(const BufferList& buffers, Version version);

  // Goes to the first row at or behind `row_key`.
  void Seek(std::string_view row_key);
  void Next();
  bool Valid() const { return current_ != nullptr; }
  L0Row row() const { return current_->row(); }

 private:
  void SkipNewer(L0Buffer::Cursor& cursor) const;
  void Settle();

  const Version version_;
  std::vector<L0Buffer::Cursor> cursors_;  // Newest buffer first.
  const L0Buffer::Cursor* current_ = nullptr;
};

}  // namespace millrace::storage
