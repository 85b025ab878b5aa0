#include "bench/skip_list.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace millrace {

SkipList::SkipList(const Options& options) : options_(options), head_(NewNode(kHeightMax)) {
}

void SkipList::Insert(absl::Span<const storage::L0Row> rows) {
  const size_t group = options_.lockstep ? kGroup : 1;
  for (; !rows.empty(); rows.remove_prefix(std::min(group, rows.size()))) {
    InsertGroup(rows.subspan(0, group));
  }
}

bool SkipList::Find(std::string_view key, storage::Version at_most, storage::L0Row* row) const {
  const storage::L0Target target = {key, at_most};
  const uint64_t slice = Slice(key);
  const Node* before = head_;
  const Node* next = nullptr;
  for (int level = kHeightMax - 1; level >= 0; --level) {
    // Acquire: pairs with the release store of InsertGroup.
    while ((next = before->next[level].load(std::memory_order_acquire)) != nullptr &&
           Before(*next, slice, target)) {
      before = next;
    }
  }
  if (next == nullptr || next->row->key() != key) return false;
  *row = next->row->row();
  return true;
}

uint64_t SkipList::Slice(std::string_view key) const {
  return options_.inline_slice ? storage::KeySlice(key, options_.skip) : 0;
}

bool SkipList::Before(const Node& node, uint64_t slice, const storage::L0Target& target) {
  if (node.slice != slice) return node.slice < slice;
  return Less(*node.row, target);
}

SkipList::Node* SkipList::NewNode(int height) {
  return new (arena_.Allocate(sizeof(Node) + (height - 1) * sizeof(std::atomic<Node*>))) Node;
}

int SkipList::RandomHeight() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return 1 + std::min(kHeightMax - 1, __builtin_ctzll(random_ | uint64_t{1} << 62) / 2);
}

const storage::L0StoredRow* SkipList::Copy(const storage::L0Row& row) {
  const size_t header = sizeof(storage::L0StoredRow);
  char* const memory = arena_.Allocate(header + row.key.size() + row.value.size());
  std::memcpy(memory + header, row.key.data(), row.key.size());
  std::memcpy(memory + header + row.key.size(), row.value.data(), row.value.size());
  return new (memory) storage::L0StoredRow{.version = row.version,
                                           .value_size = static_cast<uint32_t>(row.value.size()),
                                           .key_size = static_cast<uint16_t>(row.key.size()),
                                           .tombstone = row.tombstone};
}

// One step of a search; false when it has its place at every level.
bool SkipList::Step(Search* search) {
  const storage::L0Target target = {search->row->key(), search->row->version};
  if (search->next != nullptr && Before(*search->next, search->slice, target)) {
    search->before = search->next;
  } else {
    search->path[search->level] = search->before;
    if (--search->level < 0) return false;
  }
  search->next = search->before->next[search->level].load(std::memory_order_relaxed);
  __builtin_prefetch(search->next);
  return true;
}

void SkipList::InsertGroup(absl::Span<const storage::L0Row> rows) {
  Search searches[kGroup];
  for (size_t i = 0; i < rows.size(); ++i) {
    const storage::L0StoredRow* const row = Copy(rows[i]);
    searches[i] = {.row = row,
                   .slice = Slice(row->key()),
                   .before = head_,
                   .next = head_->next[kHeightMax - 1].load(std::memory_order_relaxed),
                   .level = kHeightMax - 1,
                   .path = {}};
  }
  for (bool searching = true; searching;) {
    searching = false;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (searches[i].level >= 0) searching |= Step(&searches[i]);
    }
  }
  for (size_t i = 0; i < rows.size(); ++i) Link(searches[i]);
}

void SkipList::Link(const Search& search) {
  const storage::L0Target target = {search.row->key(), search.row->version};
  const int height = RandomHeight();
  Node* const node = NewNode(height);
  node->slice = search.slice;
  node->row = search.row;
  for (int level = 0; level < height; ++level) {
    // Rows of the same group may have come in between.
    Node* before = search.path[level];
    Node* next;
    while ((next = before->next[level].load(std::memory_order_relaxed)) != nullptr &&
           Before(*next, search.slice, target)) {
      before = next;
    }
    node->next[level].store(next, std::memory_order_relaxed);
    // Release: pairs with the acquire loads of readers.
    before->next[level].store(node, std::memory_order_release);
  }
}

}  // namespace millrace
