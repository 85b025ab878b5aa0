#include "millrace/storage/cursor.h"

#include <utility>

#include <lmdb.h>

#include "millrace/storage/lmdb_status.h"

namespace millrace::storage {

Cursor::Cursor(MDB_cursor* cursor, absl::Status status, int* open_count)
    : cursor_(cursor), open_count_(open_count), status_(std::move(status)) {
  if (open_count_ != nullptr) ++*open_count_;
}

Cursor::Cursor(Cursor&& other) noexcept
    : cursor_(std::exchange(other.cursor_, nullptr)),
      open_count_(std::exchange(other.open_count_, nullptr)),
      valid_(std::exchange(other.valid_, false)),
      key_(other.key_),
      value_(other.value_),
      status_(std::move(other.status_)) {
}

Cursor::~Cursor() {
  if (cursor_ != nullptr) mdb_cursor_close(cursor_);
  if (open_count_ != nullptr) --*open_count_;
}

void Cursor::Seek(std::string_view key) {
  if (key.empty()) return Move(MDB_FIRST, key);
  Move(MDB_SET_RANGE, key);
}

bool Cursor::SeekExact(std::string_view key) {
  if (key.empty()) {
    valid_ = false;
  } else {
    Move(MDB_SET_KEY, key);
  }
  return valid_;
}

void Cursor::SeekLast() {
  Move(MDB_LAST, {});
}

void Cursor::SeekBefore(std::string_view key) {
  Seek(key);
  if (valid_) {
    Prev();
  } else {
    SeekLast();
  }
}

void Cursor::Next() {
  Move(MDB_NEXT, {});
}

void Cursor::Prev() {
  Move(MDB_PREV, {});
}

void Cursor::Move(int operation, std::string_view key) {
  valid_ = false;
  if (cursor_ == nullptr) return;
  MDB_val k = {key.size(), const_cast<char*>(key.data())};
  MDB_val v = {0, nullptr};
  const int code = mdb_cursor_get(cursor_, &k, &v, static_cast<MDB_cursor_op>(operation));
  if (code == MDB_SUCCESS) {
    valid_ = true;
    key_ = {static_cast<const char*>(k.mv_data), k.mv_size};
    value_ = {static_cast<const char*>(v.mv_data), v.mv_size};
  } else if (code != MDB_NOTFOUND && status_.ok()) {
    status_ = LmdbStatus(code, "moving a cursor", "of the store");
  }
}

}  // namespace millrace::storage
