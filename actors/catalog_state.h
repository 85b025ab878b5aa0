#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/messages/commit.h"
#include "millrace/messages/index.h"
#include "millrace/storage/collection.h"
#include "millrace/storage/marks.h"
#include "millrace/storage/row_view.h"
#include "millrace/storage/write_batch.h"

namespace millrace {

// What is defined in the store, as the newest commit has it: collections, indexes, relations, and
// the generations that the Committer was told of. A definition is planned, committed, applied; a
// plan that is not applied changes nothing. Owned by the Committer thread.
class CatalogState {
 public:
  // What to commit for a definition, and what to answer. Nothing to commit: it is defined already.
  template <typename T>
  struct Plan {
    T answer;
    storage::WriteBatch batch;
  };

  // Reads it all, once. What a newer version defined, or damage, refuses writes to the collections
  // that it is about. DataLoss: a collection's definition is damaged.
  absl::Status Load(const storage::RowView& view);

  const std::map<std::string, storage::CollectionId, std::less<>>& collections() const {
    return collections_;
  }
  // What a stream must maintain now. Another one whenever that changes.
  const storage::MarksRef& marks() const { return marks_; }

  // The errors are those of the messages.
  absl::StatusOr<Plan<storage::Collection>> PlanCollection(const DefineCollection& define) const;
  absl::StatusOr<Plan<IndexDefined>> PlanIndex(const DefineIndex& define,
                                               const storage::RowView& view) const;
  absl::StatusOr<Plan<IndexDropped>> PlanDrop(const DropIndex& drop) const;
  absl::StatusOr<Plan<storage::Relation>> PlanRelation(const DefineRelation& define) const;
  void Apply(const storage::Collection& collection);
  void Apply(const IndexDefined& defined);
  void Apply(const IndexDropped& dropped);
  void Apply(const storage::Relation& relation);

  // NotFound: there is no such index.
  absl::Status SetGenerations(const MarkGenerations& mark);

 private:
  using IndexKey = std::pair<storage::CollectionId, std::string>;  // Collection and name.
  // What cannot be read: why, and whom it is about.
  struct BadIndex {
    storage::IndexId id = 0;
    absl::Status cause;
  };
  struct BadRelation {
    storage::CollectionId owners = 0;
    storage::CollectionId members = 0;
    absl::Status cause;
  };

  absl::Status LoadCollections(const storage::RowView& view);
  absl::Status LoadIndexes(const storage::RowView& view);
  absl::Status LoadRelations(const storage::RowView& view);
  absl::Status CheckCollection(storage::CollectionId id) const;
  absl::StatusOr<storage::RelationId> FindScope(const DefineIndex& define) const;
  const storage::MarkedIndex* FindIndex(const IndexKey& key) const;
  void MakeMarks();

  std::map<std::string, storage::CollectionId, std::less<>> collections_;
  std::map<IndexKey, storage::MarkedIndex> indexes_;
  std::map<IndexKey, BadIndex> bad_indexes_;
  storage::IndexId last_index_ = 0;
  std::map<std::string, storage::Relation, std::less<>> relations_;
  std::map<std::string, BadRelation, std::less<>> bad_relations_;
  storage::RelationId last_relation_ = 0;
  storage::MarksRef marks_ = storage::MakeMarks();
};

}  // namespace millrace
