#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"

#include "millrace/storage/page_file.h"
#include "millrace/storage/verify.h"

namespace millrace::storage {

// Walks trees of an LMDB file page by page and checks everything that LMDB relies on: that a page
// is what its place says, rows fill it without gaps and overlaps, keys ascend and lie where the
// branch above says, all leaves have the tree's depth, no page has two places, and that the tree
// has as many pages and rows as its description says. What is wrong is told, what can still be
// reached is walked. Owned by one thread.
class PageWalk {
 public:
  // Both outlive the walk.
  PageWalk(const PageFile& file, VerifyReport& report);

  // A row, as views that end with the call, in key order.
  struct Row {
    std::string_view key;
    std::string_view value;
    bool is_tree = false;  // The value is a tree's description.
    uint64_t page = 0;
  };
  using VisitRow = absl::FunctionRef<void(const Row&)>;
  enum class Keys : uint8_t { kBytes, kIntegers };  // Integers: 8 bytes in memory order.

  // Walks the tree `name`. False if a part of it could not be reached.
  bool Tree(std::string_view name, const TreeDescription& tree, Keys keys, VisitRow visit);

  // Gives a page its place: that it is in use, or free, says `where`. False, and told, if there is
  // no such page, or if it has a place already.
  bool Place(uint64_t page, std::string_view where);

  // Whether no part of any tree so far was missing.
  bool whole() const { return all_whole_; }

  // Once everything that has a place was told: names the pages that have none.
  void Finish();

 private:
  // The keys that a page may hold: [low, high). Empty: no limit.
  struct Bounds {
    std::string_view low;
    std::string_view high;
  };
  // What stands on a leaf or branch page: a row, or a child and the lowest key it may hold.
  struct Node {
    std::string_view key;
    std::string_view value;    // If it stands on the page; else its first page is `page`.
    uint64_t page = 0;         // Of a branch: the child.
    uint32_t value_bytes = 0;  // Of a leaf.
    uint16_t flags = 0;
    size_t offset = 0;  // On the page, where it has so many bytes.
    size_t bytes = 0;
  };
  struct Walked;

  void Page(uint64_t number, uint16_t depth, const Bounds& bounds);
  void Branch(const std::vector<Node>& nodes, uint16_t depth, const Bounds& bounds);
  void Leaf(uint64_t number, const std::vector<Node>& nodes);
  std::optional<std::string_view> Overflow(uint64_t leaf, const Node& node);

  std::optional<std::string_view> Load(uint64_t number, uint16_t depth, std::string* buffer);
  bool ReadNodes(uint64_t number, std::string_view page, std::vector<Node>* nodes);
  static std::optional<Node> ReadNode(std::string_view page, size_t offset);
  bool KeysAreInOrder(const std::vector<Node>& nodes, bool branch, const Bounds& bounds) const;
  bool Less(std::string_view one, std::string_view other) const;
  void CompareTotals(const TreeDescription& tree);
  // Tells that a page is damaged, and remembers that what hangs below it was not reached.
  std::nullopt_t Cut(uint64_t page, std::string_view what);

  const PageFile& file_;
  VerifyReport& report_;
  std::vector<bool> placed_;  // By page.
  bool all_whole_ = true;     // Every tree was reached in full.
  Walked* tree_ = nullptr;    // The one that is walked.
  std::vector<std::pair<size_t, size_t>> extents_;
};

}  // namespace millrace::storage
