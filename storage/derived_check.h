#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"

#include "millrace/storage/index_definition.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/key_ledger.h"
#include "millrace/storage/tree_check.h"
#include "millrace/storage/tree_id.h"

namespace millrace::storage {

// Whether what is derived agrees with what it is derived from, both ways: the entries of each
// index's live generation with the records, and the links where it is scoped; the two rows of each
// link with one another, and with the records that they join. Goes through those trees once, and
// once more if something has to be named. While a flush is under way, links and scoped indexes may
// be between two of its slices: they are left out then, and so are indexes that it defines.
//
// Takes memory for the ids of what relations join, and for the values of scoped indexes. Owned by
// one thread.
class DerivedCheck {
 public:
  using VisitRow = absl::FunctionRef<void(std::string_view key, std::string_view value)>;
  // Goes through a tree of which no part is missing.
  using Walk = absl::FunctionRef<void(TreeId tree, VisitRow visit)>;

  // The context has learned everything from the trees.
  explicit DerivedCheck(VerifyContext& context);
  void Run(Walk walk);

 private:
  struct Index {
    const IndexDefinition* definition;
    IndexField field;
    Generation live;
  };
  // What a scoped index holds of a record: the index and the value of its entry.
  using ScopedValue = std::pair<const Index*, std::string>;

  void Select();
  bool IsSettled(const IndexDefinition& index) const;
  void Pass(Walk walk);
  void Record(std::string_view key, std::string_view value);
  void Link(std::string_view key, std::string_view value);
  void CheckEnd(const Relation& relation, const LinkRow& link, bool of_owner);
  void Entry(std::string_view key);
  void Expect(const Index& index, std::string_view owner, std::string_view value,
              std::string_view id);
  void NoteOwner(std::string_view key, const IndexEntry& entry);
  bool IsLeftOut(std::string_view key, const IndexEntry& entry, const IndexDefinition& index) const;
  void NameEntry(std::string_view key, bool missing);
  void NameLink(std::string_view key, bool missing);

  VerifyContext& context_;
  std::map<IndexId, Index> indexes_;
  std::map<CollectionId, std::vector<const Index*>> by_collection_;
  std::set<CollectionId> ends_of_links_;  // The collections that relations join.
  bool links_are_checked_ = false;

  KeyLedger entries_;
  KeyLedger links_;
  bool naming_ = false;
  absl::flat_hash_set<std::string> ends_;  // Keys of the records that links may join.
  absl::flat_hash_map<std::string, std::vector<ScopedValue>> scoped_;  // By the record's key.
  std::set<std::string, std::less<>> unreadable_;  // Keys of records that are damaged.
  bool link_is_unreadable_ = false;
  // What entries of unique indexes begin with, up to the id, that another record may want, too.
  std::set<std::string, std::less<>> owned_;

  std::string row_key_;
  std::string entry_;
  IndexKey value_;
};

}  // namespace millrace::storage
