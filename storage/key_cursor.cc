#include "millrace/storage/key_cursor.h"

#include <utility>

#include "millrace/storage/row_key.h"

namespace millrace::storage {

KeyCursor::KeyCursor(const BufferList& buffers, const ReadTransaction& transaction,
                     KeySource source, bool reverse)
    : source_(std::move(source)), reverse_(reverse), tree_(transaction.NewCursor(source_.tree)) {
  l0_.reserve(buffers.size());
  for (const auto& buffer : buffers) l0_.emplace_back(*buffer);
}

void KeyCursor::Seek(std::string_view suffix) {
  std::string key = source_.l0_prefix;
  key.append(suffix);
  // In reverse order from the key itself downwards: from the smallest key above it.
  if (reverse_) key.push_back('\0');
  for (L0Buffer::Cursor& cursor : l0_) {
    if (reverse_) {
      cursor.SeekBefore(key);
    } else {
      cursor.Seek(key);
    }
  }
  if (source_.in_tree) {
    key = source_.tree_prefix;
    key.append(suffix);
    if (reverse_) {
      key.push_back('\0');
      tree_.SeekBefore(key);
    } else {
      tree_.Seek(key);
    }
  }
  Settle();
}

void KeyCursor::SeekToEnd() {
  const std::string l0_end = PrefixSuccessor(source_.l0_prefix);
  for (L0Buffer::Cursor& cursor : l0_) cursor.SeekBefore(l0_end);
  if (source_.in_tree) {
    const std::string end = PrefixSuccessor(source_.tree_prefix);
    if (end.empty()) {
      tree_.SeekLast();
    } else {
      tree_.SeekBefore(end);
    }
  }
  Settle();
}

void KeyCursor::SeekFrom(std::string_view suffix) {
  if (reverse_ && suffix.empty()) return SeekToEnd();
  Seek(suffix);
}

// Every source that shows the key goes behind it.
void KeyCursor::Next() {
  for (L0Buffer::Cursor& cursor : l0_) {
    if (!InSource(cursor) || SuffixOf(cursor) != suffix_) continue;
    if (reverse_) {
      cursor.SeekBefore(cursor.row().key);
    } else {
      cursor.NextKey();
    }
  }
  if (TreeInSource() && TreeSuffix() == suffix_) {
    if (reverse_) {
      tree_.Prev();
    } else {
      tree_.Next();
    }
  }
  Settle();
}

std::string_view KeyCursor::SuffixOf(const L0Buffer::Cursor& cursor) const {
  return cursor.row().key.substr(source_.l0_prefix.size());
}

std::string_view KeyCursor::TreeSuffix() const {
  return tree_.key().substr(source_.tree_prefix.size());
}

bool KeyCursor::InSource(const L0Buffer::Cursor& cursor) const {
  return cursor.Valid() && cursor.row().key.starts_with(source_.l0_prefix);
}

bool KeyCursor::TreeInSource() const {
  return source_.in_tree && tree_.Valid() && tree_.key().starts_with(source_.tree_prefix);
}

void KeyCursor::Settle() {
  valid_ = false;
  if (!tree_.status().ok()) return;
  std::string_view best;
  const auto offer = [&](std::string_view suffix) {
    if (valid_ && (reverse_ ? suffix <= best : suffix >= best)) return;
    best = suffix;
    valid_ = true;
  };
  for (const L0Buffer::Cursor& cursor : l0_) {
    if (InSource(cursor)) offer(SuffixOf(cursor));
  }
  if (TreeInSource()) offer(TreeSuffix());
  if (valid_) suffix_.assign(best);
}

}  // namespace millrace::storage
