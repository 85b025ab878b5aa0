#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "millrace/storage/cursor.h"
#include "millrace/storage/l0_buffer.h"
#include "millrace/storage/live_view.h"
#include "millrace/storage/read_transaction.h"
#include "millrace/storage/tree_id.h"

namespace millrace::storage {

// What a KeyCursor walks: the keys that begin with a prefix, which is another one in L0 than in
// LMDB. Value.
struct KeySource {
  std::string l0_prefix;  // With the tree byte.
  TreeId tree = TreeId::kIndex;
  std::string tree_prefix;
  bool in_tree = true;  // False: of LMDB nothing.
};

// The keys of a source in L0 and LMDB, in ascending or descending order of what stands behind the
// prefixes, each once. It shows keys and not what they hold: in L0 it does not look at versions, so
// a key may stand for a row that is newer than the reader, or deleted. Whoever finds one asks for
// the row. Thread-compatible.
class KeyCursor {
 public:
  // Buffers and transaction must outlive the cursor.
  KeyCursor(const BufferList& buffers, const ReadTransaction& transaction, KeySource source,
            bool reverse);

  // To the first key of the order whose suffix is at or behind `suffix`: above it, or below it in
  // reverse order. The whole source begins at "" and, in reverse order, at SeekToEnd.
  void Seek(std::string_view suffix);
  // Reverse order only.
  void SeekToEnd();
  // Seek, but the empty suffix is the begin of the order.
  void SeekFrom(std::string_view suffix);
  void Next();
  bool Valid() const { return valid_; }
  // Require Valid(). What stands behind the prefix; ends with the next call.
  std::string_view suffix() const { return suffix_; }
  // OK, or LMDB's error: the cursor is then not valid.
  const absl::Status& status() const { return tree_.status(); }

 private:
  std::string_view SuffixOf(const L0Buffer::Cursor& cursor) const;
  std::string_view TreeSuffix() const;
  bool InSource(const L0Buffer::Cursor& cursor) const;
  bool TreeInSource() const;
  void Settle();

  const KeySource source_;
  const bool reverse_;
  std::vector<L0Buffer::Cursor> l0_;
  Cursor tree_;
  bool valid_ = false;
  std::string suffix_;
};

}  // namespace millrace::storage
