#include "millrace/storage/page_walk.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/row_key.h"

namespace millrace::storage {
namespace {

constexpr size_t kNodeHeaderBytes = 8;
constexpr size_t kKeyBytesMax = 511;
constexpr uint16_t kDepthMax = 32;  // LMDB's cursors go no deeper.
enum NodeFlag : uint16_t { kValueOnPages = 1, kTreeDescription = 2 };
// Pages without a place that are named one by one.
constexpr int kNamedPagesMax = 20;

template <typename T>
T LoadAt(std::string_view page, size_t offset) {
  T value;
  std::memcpy(&value, page.data() + offset, sizeof(value));
  return value;
}

}  // namespace

// The tree that is walked, and what was seen of it.
struct PageWalk::Walked {
  // What the page of one depth needs; the keys of a page stay where they are while those below it
  // are walked.
  struct Level {
    std::string buffer;
    std::vector<Node> nodes;
  };
  std::string_view name;
  Keys keys;
  VisitRow visit;
  uint16_t depth;
  bool whole = true;
  TreeDescription seen;
  std::array<Level, kDepthMax + 1> levels;
  std::string overflow;  // The pages of a long value.
};

PageWalk::PageWalk(const PageFile& file, VerifyReport& report) : file_(file), report_(report) {
  // A damaged count must not take the memory away: what lies behind the file's end has no place.
  placed_.resize(std::min<uint64_t>(file.page_count(), uint64_t{1} << 32));
  std::fill_n(placed_.begin(), std::min<size_t>(placed_.size(), kMetaPageCount), true);
}

bool PageWalk::Tree(std::string_view name, const TreeDescription& tree, Keys keys, VisitRow visit) {
  Walked walked{.name = name, .keys = keys, .visit = visit, .depth = tree.depth};
  tree_ = &walked;
  if (tree.depth > kDepthMax) {
    report_.AddDamage(
        absl::StrCat(file_.path(), ": tree ", ToAbsl(name), " claims a depth of ", tree.depth));
    walked.whole = false;
  } else if (tree.root != kNoPage) {
    Page(tree.root, 1, {});
  }
  if (walked.whole) CompareTotals(tree);
  all_whole_ = all_whole_ && walked.whole;
  tree_ = nullptr;
  return walked.whole;
}

bool PageWalk::Place(uint64_t page, std::string_view where) {
  const char* objection = nullptr;
  if (page >= placed_.size()) {
    objection = "is behind the last page";
  } else if (page < kMetaPageCount) {
    objection = "is a meta page";
  } else if (placed_[page]) {
    objection = "has another place, too";
  }
  if (objection == nullptr) {
    placed_[page] = true;
    return true;
  }
  report_.AddDamage(absl::StrCat(file_.Place(page), " ", objection, ": it is ", ToAbsl(where)));
  return false;
}

void PageWalk::Finish() {
  if (!all_whole_) return;  // What hangs below a damaged page has lost its place.
  std::string named;
  uint64_t count = 0;
  for (uint64_t page = 0; page < placed_.size(); ++page) {
    if (placed_[page]) continue;
    if (++count <= kNamedPagesMax) absl::StrAppend(&named, count == 1 ? "" : ", ", page);
  }
  if (count > kNamedPagesMax) absl::StrAppend(&named, ", ...");
  if (count > 0) {
    report_.AddDamage(
        absl::StrCat(file_.path(), ": ", count, " pages are neither free nor in a tree: ", named));
  }
}

void PageWalk::Page(uint64_t number, uint16_t depth, const Bounds& bounds) {
  Walked::Level& level = tree_->levels[depth];
  const std::optional<std::string_view> page = Load(number, depth, &level.buffer);
  if (!page.has_value() || !ReadNodes(number, *page, &level.nodes)) return;
  const bool branch = ReadPageHeader(*page).flags == kBranchPage;
  if (!KeysAreInOrder(level.nodes, branch, bounds)) {
    Cut(number, "its keys are not in order");
    return;
  }
  if (branch) {
    ++tree_->seen.branch_pages;
    Branch(level.nodes, depth, bounds);
  } else {
    ++tree_->seen.leaf_pages;
    Leaf(number, level.nodes);
  }
}

void PageWalk::Branch(const std::vector<Node>& nodes, uint16_t depth, const Bounds& bounds) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    // The first key of a branch page means nothing: its child begins where the page does.
    Page(nodes[i].page, depth + 1,
         {.low = i == 0 ? bounds.low : nodes[i].key,
          .high = i + 1 < nodes.size() ? nodes[i + 1].key : bounds.high});
  }
}

void PageWalk::Leaf(uint64_t number, const std::vector<Node>& nodes) {
  for (const Node& node : nodes) {
    ++tree_->seen.rows;
    std::optional<std::string_view> value = node.value;
    if ((node.flags & kValueOnPages) != 0) value = Overflow(number, node);
    if (!value.has_value()) continue;
    tree_->visit({.key = node.key,
                  .value = *value,
                  .is_tree = (node.flags & kTreeDescription) != 0,
                  .page = number});
  }
}

// A value that is too long for its leaf: a chain of pages, the first with a header.
std::optional<std::string_view> PageWalk::Overflow(uint64_t leaf, const Node& node) {
  const uint64_t wanted =
      (kPageHeaderBytes + node.value_bytes + file_.page_bytes() - 1) / file_.page_bytes();
  const absl::StatusOr<std::string_view> read = file_.Read(node.page, 1, &tree_->overflow);
  if (!read.ok()) return Cut(node.page, FromAbsl(read.status().message()));
  if (read->empty())
    return Cut(leaf, absl::StrCat("the file ends before the value's page ", node.page));
  const PageHeader header = ReadPageHeader(*read);
  // LMDB writes a shorter value over the pages of a longer one.
  if (header.number != node.page || header.flags != kOverflowPage || header.padding != 0 ||
      header.overflow_count() < wanted ||
      header.overflow_count() > file_.page_count() - node.page) {
    return Cut(node.page, "it is not the first page of a long value");
  }
  for (uint64_t i = 0; i < header.overflow_count(); ++i) {
    const std::string where = absl::StrCat("a long value of tree ", ToAbsl(tree_->name));
    if (!Place(node.page + i, where)) {
      tree_->whole = false;
      return std::nullopt;
    }
  }
  tree_->seen.overflow_pages += header.overflow_count();
  const absl::StatusOr<std::string_view> chain = file_.Read(node.page, wanted, &tree_->overflow);
  if (!chain.ok()) return Cut(node.page, FromAbsl(chain.status().message()));
  if (chain->size() < kPageHeaderBytes + node.value_bytes) {
    return Cut(node.page, "the file ends inside the value");
  }
  return chain->substr(kPageHeaderBytes, node.value_bytes);
}

// The page, if it is one of a tree and in its only place.
std::optional<std::string_view> PageWalk::Load(uint64_t number, uint16_t depth,
                                               std::string* buffer) {
  if (!Place(number, absl::StrCat("in tree ", ToAbsl(tree_->name)))) {
    tree_->whole = false;
    return std::nullopt;
  }
  const absl::StatusOr<std::string_view> page = file_.Read(number, 1, buffer);
  if (!page.ok()) return Cut(number, FromAbsl(page.status().message()));
  if (page->empty()) return Cut(number, "the file ends before it");
  const PageHeader header = ReadPageHeader(*page);
  if (header.number != number)
    return Cut(number, absl::StrCat("it says it is page ", header.number));
  const uint16_t wanted = depth == tree_->depth ? kLeafPage : kBranchPage;
  if (header.flags != wanted || header.padding != 0) {
    return Cut(number, absl::StrCat("it has kind ", header.flags, " at depth ", depth, " of ",
                                    tree_->depth));
  }
  const size_t count = (header.lower - kPageHeaderBytes) / 2;
  if (header.lower < kPageHeaderBytes || header.lower % 2 != 0 || header.lower > header.upper ||
      header.upper > page->size()) {
    return Cut(number, "its header is damaged");
  }
  if (count < (wanted == kBranchPage ? 2 : 1)) return Cut(number, "it holds too little");
  return *page;
}

// The rows of a page in key order. False unless they fill it from `upper` to its end.
bool PageWalk::ReadNodes(uint64_t number, std::string_view page, std::vector<Node>* nodes) {
  const PageHeader header = ReadPageHeader(page);
  nodes->clear();
  for (size_t at = kPageHeaderBytes; at < header.lower; at += 2) {
    const std::optional<Node> node = ReadNode(page, LoadAt<uint16_t>(page, at));
    if (!node.has_value()) {
      Cut(number, absl::StrCat("its row ", nodes->size(), " is damaged"));
      return false;
    }
    nodes->push_back(*node);
  }
  extents_.clear();
  for (const Node& node : *nodes) extents_.emplace_back(node.offset, node.bytes);
  std::sort(extents_.begin(), extents_.end());
  size_t end = header.upper;
  for (const auto& [offset, bytes] : extents_) {
    if (offset != end) break;
    end += bytes;
  }
  if (end == page.size()) return true;
  Cut(number, "its rows do not fill it");
  return false;
}

std::optional<PageWalk::Node> PageWalk::ReadNode(std::string_view page, size_t offset) {
  if (offset < kPageHeaderBytes || offset % 2 != 0 || offset + kNodeHeaderBytes > page.size()) {
    return std::nullopt;
  }
  const uint64_t low = LoadAt<uint16_t>(page, offset);
  const uint64_t middle = LoadAt<uint16_t>(page, offset + 2);
  const uint64_t high = LoadAt<uint16_t>(page, offset + 4);
  const size_t key_bytes = LoadAt<uint16_t>(page, offset + 6);
  const size_t key_offset = offset + kNodeHeaderBytes;
  Node node{.offset = offset};
  size_t end = key_offset + key_bytes;
  const bool leaf = ReadPageHeader(page).flags == kLeafPage;
  if (key_bytes > kKeyBytesMax || end > page.size()) return std::nullopt;
  node.key = page.substr(key_offset, key_bytes);
  if (!leaf) {
    node.page = low | middle << 16 | high << 32;
  } else {
    node.flags = static_cast<uint16_t>(high);
    node.value_bytes = static_cast<uint32_t>(low | middle << 16);
    const bool elsewhere = (node.flags & kValueOnPages) != 0;
    const size_t value_bytes = elsewhere ? sizeof(uint64_t) : node.value_bytes;
    if (key_bytes == 0 || node.flags > kTreeDescription || end + value_bytes > page.size()) {
      return std::nullopt;
    }
    if (elsewhere) {
      node.page = LoadAt<uint64_t>(page, end);
    } else {
      node.value = page.substr(end, value_bytes);
    }
    if ((node.flags & kTreeDescription) != 0 && value_bytes != kTreeDescriptionBytes) {
      return std::nullopt;
    }
    end += value_bytes;
  }
  node.bytes = (end - offset + 1) / 2 * 2;
  if (offset + node.bytes > page.size()) return std::nullopt;
  return node;
}

bool PageWalk::KeysAreInOrder(const std::vector<Node>& nodes, bool branch,
                              const Bounds& bounds) const {
  const size_t first = branch ? 1 : 0;
  for (size_t i = first; i < nodes.size(); ++i) {
    if (nodes[i].key.empty()) return false;
    if (tree_->keys == Keys::kIntegers && nodes[i].key.size() != sizeof(uint64_t)) return false;
    if (i > first && !Less(nodes[i - 1].key, nodes[i].key)) return false;
  }
  if (!bounds.low.empty() && Less(nodes[first].key, bounds.low)) return false;
  return bounds.high.empty() || Less(nodes.back().key, bounds.high);
}

bool PageWalk::Less(std::string_view one, std::string_view other) const {
  if (tree_->keys == Keys::kBytes) return one < other;
  return LoadAt<uint64_t>(one, 0) < LoadAt<uint64_t>(other, 0);
}

void PageWalk::CompareTotals(const TreeDescription& tree) {
  const TreeDescription& seen = tree_->seen;
  const auto compare = [&](absl::string_view what, uint64_t claimed, uint64_t found) {
    if (claimed == found) return;
    report_.AddDamage(absl::StrCat(file_.path(), ": tree ", ToAbsl(tree_->name), " claims ",
                                   claimed, " ", what, " and has ", found));
  };
  compare("rows", tree.rows, seen.rows);
  compare("branch pages", tree.branch_pages, seen.branch_pages);
  compare("leaf pages", tree.leaf_pages, seen.leaf_pages);
  compare("overflow pages", tree.overflow_pages, seen.overflow_pages);
  const bool empty = tree.root == kNoPage;
  if (empty != (tree.depth == 0)) compare("levels", tree.depth, empty ? 0 : 1);
}

std::nullopt_t PageWalk::Cut(uint64_t page, std::string_view what) {
  tree_->whole = false;
  report_.AddDamage(
      absl::StrCat(file_.Place(page), " of tree ", ToAbsl(tree_->name), ": ", ToAbsl(what)));
  return std::nullopt;
}

}  // namespace millrace::storage
