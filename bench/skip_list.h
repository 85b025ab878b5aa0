#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/types/span.h"

#include "millrace/storage/arena.h"
#include "millrace/storage/l0_row.h"

namespace millrace {

// The rival of the L0 buffer's tree: a skip list with one writer and lock-free readers, with eight
// bytes of the key beside the pointer, and the searches of a group in lockstep with prefetch. Both
// can be switched off. Thread-safe for one writer and many readers.
class SkipList {
 public:
  struct Options {
    bool inline_slice = true;
    bool lockstep = true;
    // The bytes before the inline slice, equal in all keys.
    size_t skip = 3;
  };

  explicit SkipList(const Options& options);

  void Insert(absl::Span<const storage::L0Row> rows);
  bool Find(std::string_view key, storage::Version at_most, storage::L0Row* row) const;

  template <typename Visit>
  void Scan(Visit visit) const {
    // Acquire: pairs with the release store of Link.
    for (const Node* node = head_; (node = node->next[0].load(std::memory_order_acquire));) {
      visit(node->row->row());
    }
  }

  size_t bytes() const { return arena_.used_bytes(); }

 private:
  static constexpr int kHeightMax = 12;
  static constexpr size_t kGroup = 16;

  struct Node {
    uint64_t slice = 0;
    const storage::L0StoredRow* row = nullptr;
    std::atomic<Node*> next[1];  // As many as the node is high.
  };

  // One search of a group under way: between `before` and `next` at `level`.
  struct Search {
    const storage::L0StoredRow* row;
    uint64_t slice;
    Node* before;
    Node* next;
    int level;
    Node* path[kHeightMax];
  };

  uint64_t Slice(std::string_view key) const;
  static bool Before(const Node& node, uint64_t slice, const storage::L0Target& target);
  Node* NewNode(int height);
  int RandomHeight();
  const storage::L0StoredRow* Copy(const storage::L0Row& row);
  static bool Step(Search* search);
  void InsertGroup(absl::Span<const storage::L0Row> rows);
  void Link(const Search& search);

  const Options options_;
  storage::Arena arena_{8};
  uint64_t random_ = 0x9e3779b97f4a7c15;
  Node* const head_;
};

}  // namespace millrace
