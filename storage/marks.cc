#include "millrace/storage/marks.h"

#include <utility>

namespace millrace::storage {
namespace {

template <typename Map>
const typename Map::mapped_type* FindIn(const Map& map, const typename Map::key_type& key) {
  const auto it = map.find(key);
  return it == map.end() ? nullptr : &it->second;
}

}  // namespace

Marks::Marks(Indexes indexes, Relations relations, const Refusals& refusals)
    : indexes_(std::move(indexes)), relations_(std::move(relations)) {
  for (const auto& [id, index] : indexes_) {
    CollectionMarks& collection = collections_[index.definition.collection];
    collection.indexes.push_back(&index);
    collection.enforced = collection.enforced || index.Enforced();
    if (index.definition.scoped()) scoped_[index.definition.scope].push_back(&index);
  }
  for (const auto& [id, relation] : relations_) {
    collections_[relation.owners].as_owner.push_back(&relation);
    collections_[relation.members].as_member.push_back(&relation);
  }
  for (const auto& [collection, refusal] : refusals) collections_[collection].refusal = refusal;
}

const CollectionMarks* Marks::Of(CollectionId collection) const {
  return FindIn(collections_, collection);
}

const MarkedIndex* Marks::FindIndex(IndexId index) const {
  return FindIn(indexes_, index);
}

const Relation* Marks::FindRelation(RelationId relation) const {
  return FindIn(relations_, relation);
}

const std::vector<const MarkedIndex*>& Marks::ScopedBy(RelationId relation) const {
  static const std::vector<const MarkedIndex*>& none = *new std::vector<const MarkedIndex*>();
  const std::vector<const MarkedIndex*>* const scoped = FindIn(scoped_, relation);
  return scoped != nullptr ? *scoped : none;
}

MarksRef MakeMarks(Marks::Indexes indexes, Marks::Relations relations,
                   const Marks::Refusals& refusals) {
  return std::make_shared<const Marks>(std::move(indexes), std::move(relations), refusals);
}

}  // namespace millrace::storage
