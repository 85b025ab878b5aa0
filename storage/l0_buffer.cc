#include "millrace/storage/l0_buffer.h"

#include <string.h>

#include <algorithm>
#include <new>

namespace millrace::storage {
namespace {

// Eight bytes of a key as a number that orders as they do; a shorter key is padded with zeroes.
uint64_t Slice(std::string_view key) {
  unsigned char bytes[8] = {};
  memcpy(bytes, key.data(), std::min<size_t>(key.size(), 8));
  uint64_t value;
  memcpy(&value, bytes, 8);
  return __builtin_bswap64(value);
}

}  // namespace

struct L0Buffer::Row {
  Version version;
  uint32_t value_size;
  uint16_t key_size;
  bool tombstone;

  const char* bytes() const { return reinterpret_cast<const char*>(this + 1); }
  std::string_view key() const { return {bytes(), key_size}; }
  std::string_view value() const { return {bytes() + key_size, value_size}; }
};

struct L0Buffer::Node {
  uint64_t slice;
  const Row* row;
  std::atomic<Node*> next[1];  // As many as the node is high.
};

struct L0Buffer::Target {
  uint64_t slice;
  std::string_view key;
  Version version;
};

bool L0Buffer::Less(const Node& node, const Target& target) {
  if (node.slice != target.slice) return node.slice < target.slice;
  const int order = node.row->key().compare(target.key);
  return order != 0 ? order < 0 : node.row->version > target.version;
}

L0Buffer::L0Buffer(const Options& options) : arena_(options.bytes_max) {
  head_ = reinterpret_cast<Node*>(
      arena_.Allocate(sizeof(Node) + (kHeightMax - 1) * sizeof(std::atomic<Node*>), 8));
}

L0Buffer::~L0Buffer() = default;

absl::Status L0Buffer::Reserve(size_t rows, size_t bytes) {
  return arena_.Reserve(
      rows * (sizeof(Row) + sizeof(Node) + kHeightMax * sizeof(std::atomic<Node*>)) + bytes);
}

int L0Buffer::RandomHeight() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return 1 + std::min(kHeightMax - 1, __builtin_ctzll(random_ | (uint64_t{1} << 62)) / 2);
}

void L0Buffer::Insert(absl::Span<const L0Row> rows) {
  for (const L0Row& row : rows) InsertOne(row);
}

void L0Buffer::InsertOne(const L0Row& row) {
  char* const memory = arena_.Allocate(sizeof(Row) + row.key.size() + row.value.size(), 8);
  Row* const copy = new (memory) Row{.version = row.version,
                                     .value_size = static_cast<uint32_t>(row.value.size()),
                                     .key_size = static_cast<uint16_t>(row.key.size()),
                                     .tombstone = row.tombstone};
  char* const bytes = memory + sizeof(Row);
  if (!row.key.empty()) memcpy(bytes, row.key.data(), row.key.size());
  if (!row.value.empty()) memcpy(bytes + row.key.size(), row.value.data(), row.value.size());

  const int height = RandomHeight();
  Node* const node = reinterpret_cast<Node*>(
      arena_.Allocate(sizeof(Node) + (height - 1) * sizeof(std::atomic<Node*>), 8));
  const Target target = {Slice(row.key), row.key, row.version};
  node->slice = target.slice;
  node->row = copy;
  Node* before = head_;
  for (int level = kHeightMax - 1; level >= 0; --level) {
    Node* next;
    while ((next = before->next[level].load(std::memory_order_relaxed)) != nullptr &&
           Less(*next, target)) {
      before = next;
    }
    if (level < height) {
      node->next[level].store(next, std::memory_order_relaxed);
      // Release: pairs with the acquire loads of readers, who then see the node and its row.
      before->next[level].store(node, std::memory_order_release);
    }
  }
  row_count_.store(row_count() + 1, std::memory_order_relaxed);
  if (first_version() == kNoVersion || row.version < first_version()) {
    first_version_.store(row.version, std::memory_order_relaxed);
  }
  if (row.version > last_version()) last_version_.store(row.version, std::memory_order_relaxed);
}

const L0Buffer::Node* L0Buffer::Before(const Target& target) const {
  const Node* before = head_;
  for (int level = kHeightMax - 1; level >= 0; --level) {
    const Node* next;
    // Acquire: pairs with the release store of Insert.
    while ((next = before->next[level].load(std::memory_order_acquire)) != nullptr &&
           Less(*next, target)) {
      before = next;
    }
  }
  return before;
}

const L0Buffer::Node* L0Buffer::LowerBound(const Target& target) const {
  // Acquire: pairs with the release store of Insert. A row that came in between may precede the
  // target, so the last steps are checked again.
  const Node* node = Before(target)->next[0].load(std::memory_order_acquire);
  while (node != nullptr && Less(*node, target)) {
    node = node->next[0].load(std::memory_order_acquire);
  }
  return node;
}

bool L0Buffer::Find(std::string_view key, Version at_most, L0Row* row) const {
  const Node* const node = LowerBound({Slice(key), key, at_most});
  if (node == nullptr || node->row->key() != key) return false;
  *row = {node->row->key(), node->row->version, node->row->tombstone, node->row->value()};
  return true;
}

void L0Buffer::Cursor::Seek(std::string_view key) {
  node_ = buffer_.LowerBound({Slice(key), key, std::numeric_limits<Version>::max()});
}

void L0Buffer::Cursor::SeekBefore(std::string_view key) {
  node_ = buffer_.Before({Slice(key), key, std::numeric_limits<Version>::max()});
  ToNewest();
}

void L0Buffer::Cursor::SeekToLast() {
  const Node* node = buffer_.head_;
  for (int level = kHeightMax - 1; level >= 0; --level) {
    while (const Node* const next = node->next[level].load(std::memory_order_acquire)) node = next;
  }
  node_ = node;
  ToNewest();
}

void L0Buffer::Cursor::ToNewest() {
  if (node_ == buffer_.head_) {
    node_ = nullptr;
  } else {
    Seek(node_->row->key());
  }
}

void L0Buffer::Cursor::Next() {
  node_ = node_->next[0].load(std::memory_order_acquire);
}

void L0Buffer::Cursor::NextKey() {
  const std::string_view key = node_->row->key();
  node_ = buffer_.LowerBound({Slice(key), key, kNoVersion});
}

L0Row L0Buffer::Cursor::row() const {
  const Row& row = *node_->row;
  return {row.key(), row.version, row.tombstone, row.value()};
}

}  // namespace millrace::storage
