#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "millrace/storage/environment.h"
#include "millrace/storage/l0_merge.h"
#include "millrace/storage/live_view.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// The rows of one tree as one ascending sequence over L0 and LMDB, as they are at a version: of
// each row the newest state up to it, deleted rows left out. Views end with the next call.
// Thread-compatible.
class RowCursor {
 public:
  // All must outlive the cursor; version, buffers and transaction were taken as LiveView says.
  RowCursor(const ReadTransaction& transaction, const BufferList& buffers, Tree tree,
            Version version);

  // Goes to the first row at or behind `row_key`; Valid is false if there is none.
  void Seek(std::string_view row_key);
  void Next();
  bool Valid() const { return valid_; }

  std::string_view key_in_tree() const { return key_in_tree_; }
  std::string_view key();  // The encoded row key: the same behind its tree byte.
  Version version() const { return version_; }
  std::string_view payload() const { return payload_; }
  // OK, or why the cursor stopped: DataLoss naming a damaged row, or LMDB's error.
  const absl::Status& status() const { return status_; }

 private:
  // Shows the first row that is not deleted, of those where the two sources stand.
  void Settle();
  bool ShowL0();
  bool ShowLmdb();

  const char tree_byte_;
  L0Merge l0_;
  Cursor lmdb_;
  bool from_l0_ = false;  // Which source shows the row.
  bool valid_ = false;
  std::string_view key_in_tree_;
  std::string key_;  // For key().
  Version version_ = kNoVersion;
  std::string_view payload_;
  absl::Status status_;
};

}  // namespace millrace::storage
