#include "millrace/storage/l0_merge.h"

namespace millrace::storage {

L0Merge::L0Merge(const BufferList& buffers, Version version) : version_(version) {
  cursors_.reserve(buffers.size());
  for (const auto& buffer : buffers) cursors_.emplace_back(*buffer);
}

void L0Merge::Seek(std::string_view row_key) {
  for (L0Buffer::Cursor& cursor : cursors_) {
    cursor.Seek(row_key);
    SkipNewer(cursor);
  }
  Settle();
}

// Every buffer that has the row goes behind it, and not only the one that showed it.
void L0Merge::Next() {
  const std::string_view key = current_->row().key;
  for (L0Buffer::Cursor& cursor : cursors_) {
    if (!cursor.Valid() || cursor.row().key != key) continue;
    cursor.NextKey();
    SkipNewer(cursor);
  }
  Settle();
}

void L0Merge::SkipNewer(L0Buffer::Cursor& cursor) const {
  while (cursor.Valid() && cursor.row().version > version_) cursor.Next();
}

// Of equal keys the first cursor's wins: its buffer is the newest.
void L0Merge::Settle() {
  current_ = nullptr;
  for (const L0Buffer::Cursor& cursor : cursors_) {
    if (!cursor.Valid()) continue;
    if (current_ == nullptr || cursor.row().key < current_->row().key) current_ = &cursor;
  }
}

}  // namespace millrace::storage
