#pragma once

#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"

#include "millrace/storage/generations.h"
#include "millrace/storage/index_definition.h"
#include "millrace/storage/relation.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// An index that is maintained. Constant once it is in Marks.
struct MarkedIndex {
  explicit MarkedIndex(const IndexDefinition& index)
      : definition(index), field(index.field), generations(InitialGenerations(index)) {}

  IndexDefinition definition;
  IndexField field;
  GenerationState generations;
  // A build has filled its generation: unique values are claimed in it, too.
  bool enforce_building = false;

  // Whether a commit that would give a value a second owner is refused.
  bool Enforced() const {
    return definition.unique() && (generations.Fulfils(definition) || enforce_building);
  }
};

// What must be maintained of the records of one collection. Views into Marks.
struct CollectionMarks {
  std::vector<const MarkedIndex*> indexes;
  std::vector<const Relation*> as_owner;
  std::vector<const Relation*> as_member;  // A relation within one collection stands in both.
  // Not OK: a newer version defined something about the collection, so nothing may be written.
  absl::Status refusal;
  // A value may have one owner only, in some index: writes are checked.
  bool enforced = false;
};

// What a stream must maintain, and a commit check, besides the records: the indexes with their
// generations, and the relations. The Committer makes a new one when anything changes; whoever
// began with one keeps to it. Immutable, so thread-safe.
class Marks {
 public:
  using Indexes = std::map<IndexId, MarkedIndex>;
  using Relations = std::map<RelationId, Relation>;
  using Refusals = std::map<CollectionId, absl::Status>;
  Marks() = default;
  Marks(Indexes indexes, Relations relations, const Refusals& refusals);
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;

  // Null: there is nothing to do but to write the record.
  const CollectionMarks* Of(CollectionId collection) const;
  const MarkedIndex* FindIndex(IndexId index) const;
  const Relation* FindRelation(RelationId relation) const;
  // The indexes that are scoped by the relation.
  const std::vector<const MarkedIndex*>& ScopedBy(RelationId relation) const;
  // Nothing is defined at all.
  bool empty() const { return collections_.empty(); }

  const Indexes& indexes() const { return indexes_; }
  const Relations& relations() const { return relations_; }

 private:
  Indexes indexes_;
  Relations relations_;
  std::map<CollectionId, CollectionMarks> collections_;
  std::map<RelationId, std::vector<const MarkedIndex*>> scoped_;
};
using MarksRef = std::shared_ptr<const Marks>;
MarksRef MakeMarks(Marks::Indexes indexes = {}, Marks::Relations relations = {},
                   const Marks::Refusals& refusals = {});

}  // namespace millrace::storage
