// A B+-tree of cache-line aligned nodes with up to 13 entries. What makes it fit for one writer and
// readers without locks:
//
// An entry, once written, never moves. The order of a node's entries is one word, `order`: a count
// and a list of entry numbers. The writer fills the next free entry, which no reader looks at, and
// stores the new order (release); a reader loads the order (acquire) and searches what it names.
//
// A full node is not changed but replaced by two new ones. The old one stays as it was until the
// buffer is freed, and it then holds, for its range, all that was there when it was replaced. A
// reader who began before may go on in it: he needs only rows that were there when he began,
// because he asks for versions published before, and every pointer he follows was current at some
// moment since. The same holds for the neighbours and children that an old node names.
//
// Rows that arrive in ascending order fill nodes whole: a full node whose new entry comes last
// keeps its place, and gets a new neighbour for that entry alone. A reader who comes to the old
// node in the moment between looks into the next leaf too.
//
// An entry has eight bytes of its key, after the bytes that every key in the node's range shares
// (`skip`): what is searched is one node's lines, and the rows are only read where those eight
// bytes are equal. The nodes at the edges have an open range and share nothing.
//
// All inserts of a group go down level by level together, each prefetching its next node.
#include "millrace/storage/l0_tree.h"

#include <algorithm>
#include <new>

#include "glog/logging.h"

namespace millrace::storage {
namespace {

constexpr int kEntries = 13;
// A node splits into halves of 7 entries: kEntries and the new one.
constexpr int kHalf = (kEntries + 1) / 2;
// Four bits for each entry's number from the lowest up, the count in the highest four.
constexpr int kCountShift = 60;

int Count(uint64_t order) {
  return static_cast<int>(order >> kCountShift);
}
int EntryAt(uint64_t order, int position) {
  return static_cast<int>(order >> (4 * position)) & 15;
}

uint64_t FullOrder(int count) {
  uint64_t order = static_cast<uint64_t>(count) << kCountShift;
  for (int i = 0; i < count; ++i) order |= static_cast<uint64_t>(i) << (4 * i);
  return order;
}

// The order with the next free entry at `position`.
uint64_t WithEntryAt(uint64_t order, int position) {
  const uint64_t count = order >> kCountShift;
  const uint64_t entries = order & ~(uint64_t{15} << kCountShift);
  const uint64_t below = entries & ((uint64_t{1} << (4 * position)) - 1);
  const uint64_t above = (entries >> (4 * position)) << (4 * position + 4);
  return below | count << (4 * position) | above | (count + 1) << kCountShift;
}

// Whether entries came in ascending order lately, and one at `position` would be the next of them.
bool IsAscending(uint64_t order, int position) {
  const int count = Count(order);
  return position == count && EntryAt(order, count - 1) == count - 1 &&
         EntryAt(order, count - 2) == count - 2;
}

size_t SharedBytes(std::string_view a, std::string_view b) {
  const size_t size = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + size, b.begin()).first -
                             a.begin());
}

void Prefetch(const void* node) {
  const char* const bytes = static_cast<const char*>(node);
  for (size_t line = 0; line < 256; line += 64) __builtin_prefetch(bytes + line);
}

}  // namespace

// What leaves and inner nodes have in common. `order` is the writer's word to the readers; the
// other fields they read are constant.
struct alignas(64) L0Tree::Node {
  std::atomic<uint64_t> order{0};
  const L0StoredRow* low = nullptr;   // All rows here are at or after it; null: open.
  const L0StoredRow* high = nullptr;  // Writer only. All rows here are before it; null: open.
  uint16_t skip = 0;                  // Leading key bytes that all rows in the range share.
  uint8_t level = 0;                  // 0: a leaf.
  bool appended = false;  // Writer only. It was full once and got a neighbour for one entry.
  uint32_t changed = 0;   // Writer only. The group that replaced it or took from its range.
  uint64_t slices[kEntries];

  // How many of the entries in `order` satisfy `precedes`, which is asked where the slice is equal
  // and must hold for the first entries of the order and not for the rest.
  template <typename Precedes>
  int Search(uint64_t order_seen, std::string_view key, Precedes precedes) const {
    const uint64_t slice = KeySlice(key, skip);
    const int count = Count(order_seen);
    int first = 0;
    int equal = 0;
    for (int i = 0; i < count; ++i) {
      first += slices[i] < slice ? 1 : 0;
      equal += slices[i] == slice ? 1 : 0;
    }
    for (int last = first + equal; first < last;) {
      const int middle = (first + last) / 2;
      if (precedes(EntryAt(order_seen, middle))) {
        first = middle + 1;
      } else {
        last = middle;
      }
    }
    return first;
  }
};

struct L0Tree::Leaf : Node {
  const L0StoredRow* rows[kEntries];
  std::atomic<Leaf*> next{nullptr};
  std::atomic<Leaf*> prev{nullptr};

  int Position(uint64_t order_seen, const L0Target& target) const {
    return Search(order_seen, target.key, [&](int entry) { return Less(*rows[entry], target); });
  }
};

// The range of children[i] begins at children[i]->low; that of `first` where the node's begins.
// Only leaves give up range and stay: an inner node covers the same range until it is replaced.
struct L0Tree::Inner : Node {
  std::atomic<Node*> children[kEntries];
  std::atomic<Node*> first{nullptr};

  std::atomic<Node*>& ChildAt(uint64_t order_seen, int index) {
    return index == 0 ? first : children[EntryAt(order_seen, index - 1)];
  }

  // The child that `select` picks by an order. The writer adds a new child before it exchanges its
  // left neighbour, so whoever sees the neighbour exchanged sees the order changed too, and picks
  // again: the left one no longer covers what he looks for.
  template <typename Select>
  Node* Follow(Select select) {
    for (;;) {
      // Acquire: pairs with the release stores of AddChild.
      const uint64_t order_seen = order.load(std::memory_order_acquire);
      Node* const child = ChildAt(order_seen, select(order_seen)).load(std::memory_order_acquire);
      // Relaxed: what has to be seen here comes before the child in the writer's order.
      if (order.load(std::memory_order_relaxed) == order_seen) return child;
    }
  }

  Node* ChildFor(const L0Target& target) {
    return Follow([&](uint64_t order_seen) {
      return Search(order_seen, target.key, [&](int entry) {
        // Acquire: pairs with the release stores of AddChild.
        const L0StoredRow* const row = children[entry].load(std::memory_order_acquire)->low;
        const int compared = row->key().compare(target.key);
        return compared != 0 ? compared < 0 : row->version >= target.version;
      });
    });
  }
};

static_assert(kEntries * 4 <= kCountShift);

const L0StoredRow& L0Tree::Place::row() const {
  return *leaf->rows[EntryAt(order, index)];
}

// --- Readers.

const L0Tree::Leaf* L0Tree::FindLeaf(const L0Target& target) const {
  // Acquire: pairs with the release stores of Insert and AddChild.
  Node* node = root_.load(std::memory_order_acquire);
  while (node != nullptr && node->level > 0) node = static_cast<Inner*>(node)->ChildFor(target);
  return static_cast<const Leaf*>(node);
}

L0Tree::Place L0Tree::AtOrAfter(const L0Target& target) const {
  const Leaf* leaf = FindLeaf(target);
  if (leaf == nullptr) return {};
  // Acquire, here and below: pairs with the release stores of InsertRow, SplitLeaf and AppendLeaf.
  uint64_t order = leaf->order.load(std::memory_order_acquire);
  const int index = leaf->Position(order, target);
  if (index < Count(order)) return {leaf, order, index};
  // The next leaf's first row is it, unless leaves were appended meanwhile. The target is not in
  // their range, so their slices say nothing about it.
  while ((leaf = leaf->next.load(std::memory_order_acquire)) != nullptr) {
    order = leaf->order.load(std::memory_order_acquire);
    for (Place place = {leaf, order, 0}; place.index < Count(order); ++place.index) {
      if (!Less(place.row(), target)) return place;
    }
  }
  return {};
}

L0Tree::Place L0Tree::Before(const L0Target& target) const {
  const Leaf* const leaf = FindLeaf(target);
  if (leaf == nullptr) return {};
  // Acquire: pairs with the release stores of InsertRow, SplitLeaf and AppendLeaf.
  const uint64_t order = leaf->order.load(std::memory_order_acquire);
  const int index = leaf->Position(order, target);
  return index > 0 ? Place{leaf, order, index - 1}
                   : LastOf(leaf->prev.load(std::memory_order_acquire));
}

L0Tree::Place L0Tree::Last() const {
  // Acquire: pairs with the release stores of Insert and AddChild.
  Node* node = root_.load(std::memory_order_acquire);
  while (node != nullptr && node->level > 0) {
    node = static_cast<Inner*>(node)->Follow([](uint64_t order) { return Count(order); });
  }
  return LastOf(static_cast<const Leaf*>(node));
}

L0Tree::Place L0Tree::LastOf(const Leaf* leaf) {
  if (leaf == nullptr) return {};
  // Acquire: pairs with the release store of InsertRow. No leaf is ever empty.
  const uint64_t order = leaf->order.load(std::memory_order_acquire);
  return {leaf, order, Count(order) - 1};
}

L0Tree::Place L0Tree::After(Place place) {
  if (++place.index < Count(place.order)) return place;
  // Acquire: pairs with the release stores of SplitLeaf, AppendLeaf and InsertRow.
  const Leaf* const leaf = place.leaf->next.load(std::memory_order_acquire);
  if (leaf == nullptr) return {};
  const uint64_t order = leaf->order.load(std::memory_order_acquire);
  for (int i = 0; i < Count(order); ++i) __builtin_prefetch(leaf->rows[i]);
  const Leaf* const following = leaf->next.load(std::memory_order_relaxed);  // Only a hint.
  if (following != nullptr) Prefetch(following);
  return {leaf, order, 0};
}

// --- The writer. Its own loads are relaxed: it reads what it wrote.

absl::Status L0Tree::Reserve(size_t rows) {
  // A split needs a full node. A new one becomes full after kHalf - 1 more entries, and a full one
  // can be split twice, once by appending.
  size_t nodes = 2;
  size_t entries = rows;
  for (int level = 0; level < kLevelsMax && entries > 0; ++level) {
    const size_t full = 2 * node_counts_[level] + 2 * entries / (kHalf - 1);
    entries = std::min(entries, full);
    nodes += 2 * entries + 1;
  }
  static_assert(sizeof(Leaf) == 256 && sizeof(Inner) == 256);
  return arena_.Reserve(nodes * sizeof(Leaf));
}

void L0Tree::Insert(absl::Span<const L0StoredRow* const> rows) {
  DCHECK_LE(rows.size(), kGroupRowsMax);
  ++group_;
  Node* root = root_.load(std::memory_order_relaxed);
  if (root == nullptr) {
    Leaf* const leaf = new (arena_.Allocate(sizeof(Leaf))) Leaf;
    ++node_counts_[0];
    leaf->rows[0] = rows[0];
    leaf->slices[0] = KeySlice(rows[0]->key(), 0);
    leaf->order.store(FullOrder(1), std::memory_order_relaxed);
    // Release: pairs with the acquire loads of the root by readers.
    root_.store(leaf, std::memory_order_release);
    root = leaf;
    rows.remove_prefix(1);
  }
  Path paths[kGroupRowsMax];
  Node* nodes[kGroupRowsMax];
  std::fill_n(nodes, rows.size(), root);
  for (int level = root->level; level > 0; --level) {
    for (size_t i = 0; i < rows.size(); ++i) {
      Inner* const inner = static_cast<Inner*>(nodes[i]);
      paths[i].inner[level] = inner;
      nodes[i] = inner->ChildFor({rows[i]->key(), rows[i]->version});
      Prefetch(nodes[i]);
    }
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    InsertRow(rows[i], static_cast<Leaf*>(nodes[i]), &paths[i]);
  }
}

L0Tree::Leaf* L0Tree::Descend(const L0Target& target, Path* path) {
  Node* node = root_.load(std::memory_order_relaxed);
  while (node->level > 0) {
    Inner* const inner = static_cast<Inner*>(node);
    path->inner[node->level] = inner;
    node = inner->ChildFor(target);
  }
  return static_cast<Leaf*>(node);
}

void L0Tree::InsertRow(const L0StoredRow* row, Leaf* leaf, Path* path) {
  const L0Target target = {row->key(), row->version};
  // An earlier row of the group may have replaced the leaf or taken from its range.
  if (leaf->changed == group_) leaf = Descend(target, path);
  const uint64_t order = leaf->order.load(std::memory_order_relaxed);
  const int count = Count(order);
  const int position = leaf->Position(order, target);
  if (count < kEntries) {
    leaf->slices[count] = KeySlice(row->key(), leaf->skip);
    leaf->rows[count] = row;
    // Release: pairs with the acquire loads of the order; a reader who sees the entry sees the row.
    leaf->order.store(WithEntryAt(order, position), std::memory_order_release);
    return;
  }
  if (!leaf->appended && IsAscending(order, position)) {
    AppendLeaf(leaf, row, path);
  } else {
    SplitLeaf(leaf, position, row, path);
  }
}

void L0Tree::AppendLeaf(Leaf* leaf, const L0StoredRow* row, Path* path) {
  Leaf* const next = leaf->next.load(std::memory_order_relaxed);
  Leaf* const right = NewLeaf(row, leaf->high, *leaf);
  right->slices[0] = KeySlice(row->key(), right->skip);
  right->rows[0] = row;
  right->order.store(FullOrder(1), std::memory_order_relaxed);
  right->prev.store(leaf, std::memory_order_relaxed);
  right->next.store(next, std::memory_order_relaxed);
  leaf->high = row;
  leaf->appended = true;
  leaf->changed = group_;
  // Release: pairs with the acquire loads of neighbours by readers.
  if (next != nullptr) next->prev.store(right, std::memory_order_release);
  leaf->next.store(right, std::memory_order_release);
  AddChild(1, leaf, leaf, right, path);
}

void L0Tree::SplitLeaf(Leaf* leaf, int position, const L0StoredRow* row, Path* path) {
  // The old entries in order, and the new row at its position.
  const uint64_t order = leaf->order.load(std::memory_order_relaxed);
  const L0StoredRow* rows[kEntries + 1];
  uint64_t slices[kEntries + 1];
  for (int i = 0, from = 0; i <= kEntries; ++i) {
    if (i == position) {
      rows[i] = row;
      slices[i] = KeySlice(row->key(), leaf->skip);
      continue;
    }
    const int entry = EntryAt(order, from++);
    rows[i] = leaf->rows[entry];
    slices[i] = leaf->slices[entry];
  }
  Leaf* const left = NewLeaf(leaf->low, rows[kHalf], *leaf);
  Leaf* const right = NewLeaf(rows[kHalf], leaf->high, *leaf);
  for (int i = 0; i <= kEntries; ++i) {
    Leaf* const to = i < kHalf ? left : right;
    const int entry = i < kHalf ? i : i - kHalf;
    to->rows[entry] = rows[i];
    to->slices[entry] = to->skip == leaf->skip ? slices[i] : KeySlice(rows[i]->key(), to->skip);
  }
  left->order.store(FullOrder(kHalf), std::memory_order_relaxed);
  right->order.store(FullOrder(kEntries + 1 - kHalf), std::memory_order_relaxed);
  Leaf* const prev = leaf->prev.load(std::memory_order_relaxed);
  Leaf* const next = leaf->next.load(std::memory_order_relaxed);
  left->prev.store(prev, std::memory_order_relaxed);
  left->next.store(right, std::memory_order_relaxed);
  right->prev.store(left, std::memory_order_relaxed);
  right->next.store(next, std::memory_order_relaxed);
  leaf->changed = group_;
  --node_counts_[0];
  // Release: pairs with the acquire loads of neighbours by readers.
  if (next != nullptr) next->prev.store(right, std::memory_order_release);
  if (prev != nullptr) prev->next.store(left, std::memory_order_release);
  AddChild(1, leaf, left, right, path);
}

// Puts `right` behind `old_left`, which is exchanged for `left` (or is it), into their parent at
// `level`.
void L0Tree::AddChild(int level, Node* old_left, Node* left, Node* right, Path* path) {
  const L0Target low = {right->low->key(), right->low->version};
  if (root_.load(std::memory_order_relaxed) == old_left) {
    CHECK_LT(level, kLevelsMax);
    Node* const children[] = {left, right};
    Inner* const root = NewInner(level, nullptr, nullptr, 0);
    FillInner(root, children, 2);
    // Release: pairs with the acquire loads of the root by readers.
    root_.store(root, std::memory_order_release);
    return;
  }
  // An earlier row of the group may have replaced the parent.
  if (path->inner[level]->changed == group_) Descend(low, path);
  Inner* const parent = path->inner[level];
  const uint64_t order = parent->order.load(std::memory_order_relaxed);
  const int count = Count(order);
  int index = 0;
  while (parent->ChildAt(order, index).load(std::memory_order_relaxed) != old_left) {
    ++index;
    DCHECK_LE(index, count);
  }
  if (count == kEntries) {
    SplitInner(parent, index, left, right, path);
    return;
  }
  parent->slices[count] = KeySlice(low.key, parent->skip);
  parent->children[count].store(right, std::memory_order_relaxed);
  // Release, both and in this order: pairs with the acquire loads of Inner::Follow.
  parent->order.store(WithEntryAt(order, index), std::memory_order_release);
  if (left != old_left) parent->ChildAt(order, index).store(left, std::memory_order_release);
}

void L0Tree::SplitInner(Inner* inner, int index, Node* left, Node* right, Path* path) {
  constexpr int kChildren = kEntries + 2;
  const uint64_t order = inner->order.load(std::memory_order_relaxed);
  Node* children[kChildren];
  for (int i = 0, to = 0; i <= kEntries; ++i) {
    children[to++] = i == index ? left : inner->ChildAt(order, i).load(std::memory_order_relaxed);
    if (i == index) children[to++] = right;
  }
  const bool ascending = !inner->appended && IsAscending(order, index);
  const int half = ascending ? kChildren - 1 : kChildren / 2;
  const int level = inner->level;
  Inner* const below = NewInner(level, inner->low, children[half]->low, inner->skip);
  Inner* const above = NewInner(level, children[half]->low, inner->high, inner->skip);
  FillInner(below, children, half);
  FillInner(above, children + half, kChildren - half);
  below->appended = ascending;
  inner->changed = group_;
  --node_counts_[level];
  AddChild(level + 1, inner, below, above, path);
}

// The bytes that a new node skips. The old number is kept while most of the slice still tells keys
// apart: then slices can be copied, and need not be read from the rows.
uint16_t L0Tree::SkipOf(const L0StoredRow* low, const L0StoredRow* high, size_t old_skip) {
  if (low == nullptr || high == nullptr) return 0;
  const size_t shared = SharedBytes(low->key(), high->key());
  return static_cast<uint16_t>(shared >= old_skip + sizeof(uint64_t) / 2 ? shared : old_skip);
}

L0Tree::Leaf* L0Tree::NewLeaf(const L0StoredRow* low, const L0StoredRow* high, const Leaf& old) {
  Leaf* const leaf = new (arena_.Allocate(sizeof(Leaf))) Leaf;
  leaf->level = 0;
  leaf->low = low;
  leaf->high = high;
  leaf->skip = SkipOf(low, high, old.skip);
  ++node_counts_[0];
  return leaf;
}

L0Tree::Inner* L0Tree::NewInner(int level, const L0StoredRow* low, const L0StoredRow* high,
                                size_t old_skip) {
  Inner* const inner = new (arena_.Allocate(sizeof(Inner))) Inner;
  inner->level = static_cast<uint8_t>(level);
  inner->low = low;
  inner->high = high;
  inner->skip = SkipOf(low, high, old_skip);
  ++node_counts_[level];
  return inner;
}

void L0Tree::FillInner(Inner* inner, Node* const* children, int count) {
  inner->first.store(children[0], std::memory_order_relaxed);
  for (int i = 1; i < count; ++i) {
    inner->children[i - 1].store(children[i], std::memory_order_relaxed);
    inner->slices[i - 1] = KeySlice(children[i]->low->key(), inner->skip);
  }
  inner->order.store(FullOrder(count - 1), std::memory_order_relaxed);
}

}  // namespace millrace::storage
