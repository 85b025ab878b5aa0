#include "millrace/storage/cursor.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include <lmdb.h>

#include "millrace/storage/lmdb_status.h"

namespace millrace::storage {

static_assert(MDB_SUCCESS == 0, "Next compares with it");

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
      status_(std::move(other.status_)),
      ahead_max_(other.ahead_max_),
      ahead_next_(other.ahead_next_),
      ahead_count_(other.ahead_count_) {
  std::copy_n(other.ahead_, ahead_count_, ahead_);
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

void Cursor::Prev() {
  // LMDB's own position may be ahead of the row that is shown.
  if (ahead_count_ > 0 && !SeekExact(key_)) return;
  Move(MDB_PREV, {});
}

void Cursor::Move(int operation, std::string_view key) {
  ahead_max_ = ahead_next_ = ahead_count_ = 0;
  Show(Read(operation, key));
}

void Cursor::ReadAhead() {
  constexpr int kWorthFetching = 8;
  ahead_max_ = ahead_max_ == 0 ? 1 : std::min(2 * ahead_max_, kAheadMax);
  ahead_next_ = ahead_count_ = 0;
  for (bool more = true; more && ahead_count_ < ahead_max_;) {
    const Row row = Read(MDB_NEXT, {});
    ahead_[ahead_count_++] = {.key = row.key.data(),
                              .value = row.value.data(),
                              .value_bytes = row.value.size(),
                              .key_bytes = static_cast<uint32_t>(row.key.size()),
                              .code = row.code};
    more = row.code == MDB_SUCCESS && (ahead_max_ < kWorthFetching || !FetchPage(row.key.data()));
  }
}

// True if this is the first row of its page that is read ahead. A leaf's rows lie in one page of
// 4 KiB, in no order: asking for all of it at once costs its memory's bandwidth, coming upon row
// after row its latency each time.
bool Cursor::FetchPage(const char* row) {
  constexpr size_t kPageBytes = 4096;
  constexpr size_t kLineBytes = 64;
  const char* const page = row - reinterpret_cast<uintptr_t>(row) % kPageBytes;
  if (page == fetched_page_) return false;
  fetched_page_ = page;
  for (size_t line = 0; line < kPageBytes; line += kLineBytes) __builtin_prefetch(page + line);
  return true;
}

Cursor::Row Cursor::Read(int operation, std::string_view key) {
  if (cursor_ == nullptr) return {.code = MDB_NOTFOUND};
  MDB_val k = {key.size(), const_cast<char*>(key.data())};
  MDB_val v = {0, nullptr};
  const int code = mdb_cursor_get(cursor_, &k, &v, static_cast<MDB_cursor_op>(operation));
  if (code != MDB_SUCCESS) return {.code = code};
  return {.code = code,
          .key = {static_cast<const char*>(k.mv_data), k.mv_size},
          .value = {static_cast<const char*>(v.mv_data), v.mv_size}};
}

void Cursor::Show(const Row& row) {
  if (row.code != MDB_SUCCESS) return End(row.code);
  valid_ = true;
  key_ = row.key;
  value_ = row.value;
}

void Cursor::End(int code) {
  valid_ = false;
  if (code != MDB_NOTFOUND && status_.ok()) {
    status_ = LmdbStatus(code, "moving a cursor", "of the store");
  }
}

}  // namespace millrace::storage
