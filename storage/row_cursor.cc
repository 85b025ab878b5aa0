#include "millrace/storage/row_cursor.h"

#include "millrace/storage/current_rows.h"
#include "millrace/storage/record.h"

namespace millrace::storage {

RowCursor::RowCursor(const ReadTransaction& transaction, const BufferList& buffers, Tree tree,
                     Version version)
    : tree_byte_(static_cast<char>(tree)),
      l0_(buffers, version),
      lmdb_(transaction.NewCursor(TreeOf(std::string_view(&tree_byte_, 1)))) {
}

void RowCursor::Seek(std::string_view row_key) {
  l0_.Seek(row_key);
  lmdb_.Seek(KeyInTree(row_key));
  Settle();
}

void RowCursor::Next() {
  if (from_l0_) {
    l0_.Next();
  } else {
    lmdb_.Next();
  }
  Settle();
}

std::string_view RowCursor::key() {
  key_.assign(1, tree_byte_);
  key_.append(key_in_tree_);
  return key_;
}

void RowCursor::Settle() {
  valid_ = false;
  while (status_.ok() && !valid_) {
    const bool in_l0 = l0_.Valid() && l0_.row().key.front() == tree_byte_;
    const bool in_lmdb = lmdb_.Valid();
    if (!in_l0 && !in_lmdb) break;
    from_l0_ = in_l0 && (!in_lmdb || KeyInTree(l0_.row().key) <= lmdb_.key());
    valid_ = from_l0_ ? ShowL0() : ShowLmdb();
  }
  if (status_.ok()) status_ = lmdb_.status();
}

// False if the row is deleted; the cursors are then behind it. L0's state of a row hides LMDB's.
bool RowCursor::ShowL0() {
  const L0Row row = l0_.row();
  if (lmdb_.Valid() && lmdb_.key() == KeyInTree(row.key)) lmdb_.Next();
  if (row.tombstone) {
    l0_.Next();
    return false;
  }
  key_in_tree_ = KeyInTree(row.key);
  version_ = row.version;
  payload_ = row.value;
  return true;
}

bool RowCursor::ShowLmdb() {
  RecordView record;
  if (!TryDecodeRecord(lmdb_.key(), lmdb_.value(), &record)) {
    status_ = DecodeRecord(lmdb_.key(), lmdb_.value()).status();
    return false;
  }
  if (record.tombstone) {
    lmdb_.Next();
    return false;
  }
  key_in_tree_ = lmdb_.key();
  version_ = record.version;
  payload_ = record.payload;
  return true;
}

}  // namespace millrace::storage
