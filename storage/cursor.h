#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"

struct MDB_cursor;

namespace millrace::storage {

// A position in one tree of one transaction. Move-only; thread-compatible, and used only on a
// thread that may use its transaction. Ends before its transaction ends or is renewed.
//
//   for (cursor.Seek(prefix); cursor.Valid() && HasPrefix(cursor.key()); cursor.Next()) ...
//   if (!cursor.status().ok()) ...
//
// Seeking near the current position costs a fraction of a Get(): probe sorted keys this way. A scan
// reads ahead to the first row of the next page, whose memory arrives while it is at the rows
// before. After a write to the tree in the same transaction, seek again before moving on.
class Cursor {
 public:
  Cursor(Cursor&& other) noexcept;
  Cursor& operator=(Cursor&&) = delete;
  ~Cursor();

  // To the first row whose key is >= `key`. An empty `key` is the first row of the tree.
  void Seek(std::string_view key);
  // To the row of exactly this key, else to no row. Returns Valid().
  bool SeekExact(std::string_view key);
  void SeekLast();
  // To the last row whose key is < `key`.
  void SeekBefore(std::string_view key);

  // Whether the cursor is at a row. Once it is not, only the Seek functions help.
  bool Valid() const { return valid_; }
  // Require Valid().
  void Next() {
    if (ahead_next_ == ahead_count_) ReadAhead();
    const AheadRow& row = ahead_[ahead_next_++];
    if (row.code != 0) return End(row.code);
    key_ = {row.key, row.key_bytes};
    value_ = {row.value, row.value_bytes};
  }
  void Prev();
  // Views into the transaction: end at its end, its renewal, or its next write. Require Valid().
  std::string_view key() const { return key_; }
  std::string_view value() const { return value_; }

  // OK, also at the end of the tree; else the first failure: DataLoss for a damaged page.
  const absl::Status& status() const { return status_; }

 private:
  friend class ReadTransaction;
  friend class WriteTransaction;
  // `open_count`, if not null, is decremented at the end. A null cursor is one that failed to open.
  Cursor(MDB_cursor* cursor, absl::Status status, int* open_count);
  // What LMDB gave: a row, or why there is none.
  struct Row {
    int code;
    std::string_view key;
    std::string_view value;
  };
  // A row that was read ahead. Left as it is until then: most cursors never read ahead.
  struct AheadRow {
    const char* key;
    const char* value;
    size_t value_bytes;
    uint32_t key_bytes;
    int code;
  };
  static constexpr int kAheadMax = 64;  // About the rows of a page.

  void Move(int operation, std::string_view key);
  Row Read(int operation, std::string_view key);
  void Show(const Row& row);
  void End(int code);
  void ReadAhead();
  bool FetchPage(const char* row);

  MDB_cursor* cursor_;
  int* open_count_;
  bool valid_ = false;
  std::string_view key_;
  std::string_view value_;
  absl::Status status_;
  // Rows read ahead: [ahead_next_, ahead_count_) are to come. A scan earns them: it begins with one
  // and each time doubles them.
  int ahead_max_ = 0;
  int ahead_next_ = 0;
  int ahead_count_ = 0;
  AheadRow ahead_[kAheadMax];
  const char* fetched_page_ = nullptr;
};

}  // namespace millrace::storage
