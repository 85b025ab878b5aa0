#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "millrace/storage/arena.h"
#include "millrace/storage/l0_row.h"

namespace millrace::storage {

// The ordered map under an L0 buffer: a B+-tree with one writer and readers that take no lock. It
// holds pointers to rows, not rows. How readers and the writer get along is told in l0_tree.cc.
//
// Thread-safe for one writer and many readers.
class L0Tree {
 public:
  struct Node;
  struct Leaf;
  struct Inner;

  // A row's place for a reader, who keeps seeing the leaf as it was when he came to it. Value.
  struct Place {
    const Leaf* leaf = nullptr;  // Null: no row.
    uint64_t order = 0;
    int index = 0;

    const L0StoredRow& row() const;
  };

  // The most rows that one Insert takes; their searches overlap.
  static constexpr size_t kGroupRowsMax = 16;

  explicit L0Tree(size_t bytes_max) : arena_(64, bytes_max) {}

  // Writer only. Afterwards `rows` rows can be inserted without failing, else ResourceExhausted.
  absl::Status Reserve(size_t rows);
  // Writer only. At most kGroupRowsMax rows, which live as long as the tree, in any order; none is
  // in the tree yet.
  void Insert(absl::Span<const L0StoredRow* const> rows);

  // Any thread. The first row at or after the target, the last one before it, the last of all.
  Place AtOrAfter(const L0Target& target) const;
  Place Before(const L0Target& target) const;
  Place Last() const;
  // Any thread. The row after `place`, which must be one.
  static Place After(Place place);

  const Arena& arena() const { return arena_; }

 private:
  static constexpr int kLevelsMax = 24;

  // The inner nodes above a leaf, by level. Writer only.
  struct Path {
    Inner* inner[kLevelsMax];
  };

  const Leaf* FindLeaf(const L0Target& target) const;
  static Place LastOf(const Leaf* leaf);

  Leaf* Descend(const L0Target& target, Path* path);
  void InsertRow(const L0StoredRow* row, Leaf* leaf, Path* path);
  void SplitLeaf(Leaf* leaf, int position, const L0StoredRow* row, Path* path);
  void AppendLeaf(Leaf* leaf, const L0StoredRow* row, Path* path);
  void AddChild(int level, Node* old_left, Node* left, Node* right, Path* path);
  void SplitInner(Inner* inner, int index, Node* left, Node* right, Path* path);
  static uint16_t SkipOf(const L0StoredRow* low, const L0StoredRow* high, size_t old_skip);
  Leaf* NewLeaf(const L0StoredRow* low, const L0StoredRow* high, const Leaf& old);
  Inner* NewInner(int level, const L0StoredRow* low, const L0StoredRow* high, size_t old_skip);
  static void FillInner(Inner* inner, Node* const* children, int count);

  Arena arena_;
  // Null before the first row.
  std::atomic<Node*> root_{nullptr};
  // Writer only: nodes in use by level, and the number of the Insert under way.
  size_t node_counts_[kLevelsMax] = {};
  uint32_t group_ = 0;
};

}  // namespace millrace::storage
