#include "millrace/actors/catalog_state.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

#include "millrace/storage/catalog.h"
#include "millrace/storage/row_cursor.h"

namespace millrace {
namespace {

using storage::Collection;
using storage::CollectionId;
using storage::IndexDefinition;
using storage::MarkedIndex;
using storage::Relation;
using storage::ToAbsl;

// More members than this are no limit worth counting.
constexpr uint64_t kMemberMax = 1'000'000;

// Calls `visit` with the key and the document of each row of the catalog that begins so.
template <typename Visit>
absl::Status ForEachRow(const storage::RowView& view, const std::string& prefix, Visit visit) {
  storage::RowCursor rows(view.transaction(), view.buffers(), storage::Tree::kCatalog,
                          view.version());
  for (rows.Seek(prefix); rows.Valid() && rows.key().starts_with(prefix); rows.Next()) {
    if (absl::Status status = visit(rows.key(), rows.payload()); !status.ok()) return status;
  }
  return rows.status();
}

// The index stays, with what was built of it.
void ChangeKind(storage::IndexKind kind, bool empty, IndexDefinition* definition,
                storage::GenerationState* generations) {
  const bool unbuilt = *generations == storage::InitialGenerations(*definition);
  definition->kind = kind;
  ++definition->number;
  if (definition->unique()) definition->needs = definition->number;
  if (!unbuilt) return;
  if (empty) definition->complete_at = definition->number;
  *generations = storage::InitialGenerations(*definition);
}

absl::StatusOr<bool> IsEmpty(const storage::RowView& view, CollectionId collection) {
  const std::string prefix =
      storage::EncodeCollectionPrefix(storage::Tree::kRecords, storage::kTrunk, collection);
  storage::RowCursor rows(view.transaction(), view.buffers(), storage::Tree::kRecords,
                          view.version());
  rows.Seek(prefix);
  if (!rows.status().ok()) return rows.status();
  return !rows.Valid() || !rows.key().starts_with(prefix);
}

void Put(const std::string& key, const storage::Document& document, storage::WriteBatch* batch) {
  batch->Add({.kind = storage::OperationKind::kPut, .key = key, .value = document.bytes()});
}

std::string Described(const Relation& relation) {
  return absl::StrCat(
      "owners of collection ", relation.owners, ", members of collection ", relation.members,
      ", ordered by ", ToAbsl(storage::ToString(relation.order)), ", ",
      relation.member_max == 0 ? "any number of" : absl::StrCat("at most ", relation.member_max),
      " members");
}

}  // namespace

absl::Status CatalogState::Load(const storage::RowView& view) {
  absl::Status status = LoadCollections(view);
  if (status.ok()) status = LoadRelations(view);
  if (status.ok()) status = LoadIndexes(view);
  MakeMarks();
  return status;
}

absl::Status CatalogState::LoadCollections(const storage::RowView& view) {
  const std::string prefix = storage::AllCollectionsPrefix();
  return ForEachRow(view, prefix, [&](std::string_view key, std::string_view document) {
    absl::StatusOr<Collection> collection =
        storage::ReadCollectionDefinition(key.substr(prefix.size()), document);
    if (collection.ok()) Apply(*collection);
    return collection.status();
  });
}

absl::Status CatalogState::LoadRelations(const storage::RowView& view) {
  const std::string prefix = storage::AllRelationsPrefix();
  return ForEachRow(view, prefix, [&](std::string_view key, std::string_view document) {
    const std::string_view name = key.substr(prefix.size());
    const storage::DocumentView fields(document);
    last_relation_ = std::max(last_relation_, storage::CatalogNumber(fields, "id"));
    absl::StatusOr<Relation> relation = storage::ReadRelation(name, document);
    if (relation.ok()) {
      relations_.insert_or_assign(std::string(name), *std::move(relation));
      return absl::OkStatus();
    }
    LOG(WARNING) << "Committer: nothing is written to its collections: " << relation.status();
    bad_relations_[std::string(name)] = {.owners = storage::CatalogNumber(fields, "owners"),
                                         .members = storage::CatalogNumber(fields, "members"),
                                         .cause = relation.status()};
    return absl::OkStatus();
  });
}

absl::Status CatalogState::LoadIndexes(const storage::RowView& view) {
  const absl::StatusOr<std::optional<storage::CurrentRow>> counter =
      view.Find(storage::IndexCounterKey());
  if (!counter.ok()) return counter.status();
  if (counter->has_value()) last_index_ = storage::ReadCounter((*counter)->payload);
  return ForEachRow(
      view, storage::AllIndexDefinitionsPrefix(),
      [&](std::string_view key, std::string_view document) {
        const absl::StatusOr<storage::IndexName> name = storage::ReadIndexDefinitionKey(key);
        if (!name.ok()) return name.status();
        const IndexKey index_key(name->collection, name->name);
        const storage::IndexId id = storage::PeekIndexId(document);
        last_index_ = std::max(last_index_, id);
        absl::StatusOr<IndexDefinition> definition = storage::ReadIndexDefinition(key, document);
        absl::Status cause = definition.status();
        if (cause.ok()) {
          MarkedIndex index(*definition);
          const auto state = storage::ReadGenerations(view.transaction(), *definition);
          cause = state.status();
          if (cause.ok()) index.generations = *state;
          if (cause.ok()) indexes_.insert_or_assign(index_key, std::move(index));
        }
        if (cause.ok()) return absl::OkStatus();
        LOG(WARNING) << "Committer: nothing is written to its collection: " << cause;
        bad_indexes_[index_key] = {.id = id, .cause = std::move(cause)};
        return absl::OkStatus();
      });
}

absl::StatusOr<CatalogState::Plan<Collection>> CatalogState::PlanCollection(
    const DefineCollection& define) const {
  if (absl::Status status = storage::CheckCollectionName(define.name); !status.ok()) return status;
  const auto known = collections_.find(define.name);
  if (known != collections_.end()) {
    return Plan<Collection>{.answer = {.id = known->second, .name = define.name}};
  }
  CollectionId last = 0;
  for (const auto& [name, id] : collections_) last = std::max(last, id);
  Plan<Collection> plan{.answer = {.id = last + 1, .name = define.name}};
  Put(storage::CollectionKey(define.name), storage::CollectionDefinition(plan.answer), &plan.batch);
  return plan;
}

// The same field and scope: the index stays, and what was built serves on. Else it is another one.
absl::StatusOr<CatalogState::Plan<IndexDefined>> CatalogState::PlanIndex(
    const DefineIndex& define, const storage::RowView& view) const {
  absl::Status status = storage::CheckIndexOptions(define.options);
  if (status.ok()) status = CheckCollection(define.collection);
  if (!status.ok()) return status;
  const absl::StatusOr<storage::RelationId> scope = FindScope(define);
  if (!scope.ok()) return scope.status();
  const IndexKey key(define.collection, define.options.EffectiveName());
  const auto bad = bad_indexes_.find(key);
  if (bad != bad_indexes_.end()) return bad->second.cause;
  const absl::StatusOr<bool> empty = IsEmpty(view, define.collection);
  if (!empty.ok()) return empty.status();

  Plan<IndexDefined> plan;
  IndexDefinition& definition = plan.answer.definition;
  storage::GenerationState generations;
  const MarkedIndex* const known = FindIndex(key);
  const bool same = known != nullptr && known->definition.field == define.options.field &&
                    known->definition.scope == *scope;
  if (same) {
    definition = known->definition;
    generations = known->generations;
    if (definition.kind != define.options.kind) {
      ChangeKind(define.options.kind, *empty, &definition, &generations);
      Put(storage::IndexDefinitionKey(key.first, key.second),
          storage::EncodeIndexDefinition(definition), &plan.batch);
    }
  } else {
    if (known != nullptr) plan.answer.replaced = known->definition;
    definition = {.id = last_index_ + 1,
                  .collection = define.collection,
                  .name = key.second,
                  .field = define.options.field,
                  .kind = define.options.kind,
                  .scope = *scope,
                  .complete_at = *empty ? uint64_t{1} : uint64_t{0}};
    generations = storage::InitialGenerations(definition);
    Put(storage::IndexCounterKey(), storage::EncodeCounter(definition.id), &plan.batch);
    Put(storage::IndexDefinitionKey(key.first, key.second),
        storage::EncodeIndexDefinition(definition), &plan.batch);
  }
  plan.answer.complete = generations.Fulfils(definition);
  return plan;
}

absl::StatusOr<CatalogState::Plan<IndexDropped>> CatalogState::PlanDrop(
    const DropIndex& drop) const {
  if (absl::Status status = CheckCollection(drop.collection); !status.ok()) return status;
  const IndexKey key(drop.collection, drop.name);
  const MarkedIndex* const known = FindIndex(key);
  const auto bad = bad_indexes_.find(key);
  Plan<IndexDropped> plan;
  if (known != nullptr) {
    plan.answer.definition = known->definition;
  } else if (bad != bad_indexes_.end()) {
    plan.answer.definition.id = bad->second.id;
    plan.answer.definition.collection = drop.collection;
    plan.answer.definition.name = drop.name;
  } else {
    return absl::NotFoundError(
        absl::StrCat("there is no index '", drop.name, "' on collection ", drop.collection));
  }
  const std::string row = storage::IndexDefinitionKey(key.first, key.second);
  plan.batch.Add({.kind = storage::OperationKind::kDelete, .key = row});
  return plan;
}

absl::StatusOr<CatalogState::Plan<Relation>> CatalogState::PlanRelation(
    const DefineRelation& define) const {
  const storage::RelationOptions& options = define.options;
  absl::Status status = storage::CheckCatalogName(options.name, "the relation's name");
  if (status.ok()) status = CheckCollection(options.owners.id);
  if (status.ok()) status = CheckCollection(options.members.id);
  if (!status.ok()) return status;
  if (options.member_max > kMemberMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("relation '", options.name, "' is to limit members to ", options.member_max,
                     "; a limit is at most ", kMemberMax, ", and 0 is none"));
  }
  if (options.order < storage::MemberOrder::kId ||
      options.order > storage::MemberOrder::kInsertion) {
    return absl::InvalidArgumentError(
        absl::StrCat("relation '", options.name, "' has no order that there is"));
  }
  const auto bad = bad_relations_.find(options.name);
  if (bad != bad_relations_.end()) return bad->second.cause;
  Relation asked{.id = last_relation_ + 1,
                 .name = options.name,
                 .owners = options.owners.id,
                 .members = options.members.id,
                 .order = options.order,
                 .member_max = options.member_max};
  const auto known = relations_.find(options.name);
  if (known != relations_.end()) {
    asked.id = known->second.id;
    if (asked == known->second) return Plan<Relation>{.answer = asked};
    return absl::FailedPreconditionError(
        absl::StrCat("relation '", options.name, "' is defined already, with ",
                     Described(known->second), "; not with ", Described(asked)));
  }
  Plan<Relation> plan{.answer = asked};
  Put(storage::RelationDefinitionKey(asked.name), storage::EncodeRelation(asked), &plan.batch);
  return plan;
}

void CatalogState::Apply(const Collection& collection) {
  collections_[collection.name] = collection.id;
}

void CatalogState::Apply(const IndexDefined& defined) {
  const IndexDefinition& definition = defined.definition;
  last_index_ = std::max(last_index_, definition.id);
  const IndexKey key(definition.collection, definition.name);
  MarkedIndex index(definition);
  const MarkedIndex* const known = FindIndex(key);
  if (known != nullptr && known->definition.id == definition.id &&
      known->generations != storage::InitialGenerations(known->definition)) {
    index.generations = known->generations;
    index.enforce_building = known->enforce_building;
  }
  indexes_.insert_or_assign(key, std::move(index));
  MakeMarks();
}

void CatalogState::Apply(const IndexDropped& dropped) {
  const IndexKey key(dropped.definition.collection, dropped.definition.name);
  indexes_.erase(key);
  bad_indexes_.erase(key);
  MakeMarks();
}

void CatalogState::Apply(const Relation& relation) {
  last_relation_ = std::max(last_relation_, relation.id);
  relations_.insert_or_assign(relation.name, relation);
  MakeMarks();
}

absl::Status CatalogState::SetGenerations(const MarkGenerations& mark) {
  for (auto& [key, index] : indexes_) {
    if (index.definition.id != mark.state.index) continue;
    index.generations = mark.state;
    index.enforce_building = mark.enforce_building;
    MakeMarks();
    return absl::OkStatus();
  }
  return absl::NotFoundError(
      absl::StrCat("index number ", mark.state.index, " is no longer defined"));
}

absl::Status CatalogState::CheckCollection(CollectionId id) const {
  for (const auto& [name, known] : collections_) {
    if (known == id) return absl::OkStatus();
  }
  return absl::NotFoundError(
      absl::StrCat("there is no collection number ", id, "; open or create it first"));
}

// The relation that scopes the index; 0 if none does.
absl::StatusOr<storage::RelationId> CatalogState::FindScope(const DefineIndex& define) const {
  const std::string& name = define.options.scope;
  if (name.empty()) return storage::RelationId{0};
  const auto bad = bad_relations_.find(name);
  if (bad != bad_relations_.end()) return bad->second.cause;
  const auto known = relations_.find(name);
  if (known == relations_.end()) {
    return absl::NotFoundError(
        absl::StrCat("there is no relation '", name, "' to scope the index by; define it first"));
  }
  if (known->second.members == define.collection) return known->second.id;
  return absl::InvalidArgumentError(
      absl::StrCat("relation '", name, "' has members of collection ", known->second.members,
                   ", so it cannot scope an index over collection ", define.collection));
}

const MarkedIndex* CatalogState::FindIndex(const IndexKey& key) const {
  const auto it = indexes_.find(key);
  return it == indexes_.end() ? nullptr : &it->second;
}

void CatalogState::MakeMarks() {
  storage::Marks::Indexes indexes;
  storage::Marks::Relations relations;
  storage::Marks::Refusals refusals;
  for (const auto& [name, relation] : relations_) relations.emplace(relation.id, relation);
  for (const auto& [key, index] : indexes_) {
    indexes.emplace(index.definition.id, index);
    if (index.generations.IsForeign() && index.generations.format > storage::kIndexFormat) {
      // It would be found incomplete by the version that built it.
      refusals[key.first] = absl::FailedPreconditionError(
          absl::StrCat("index '", key.second, "' of collection ", key.first,
                       " was built by a newer version of Millrace (format ",
                       index.generations.format, ", this one writes ", storage::kIndexFormat,
                       "); use that version, or rebuild or drop the index"));
    }
    if (!index.definition.scoped() || relations.contains(index.definition.scope)) continue;
    refusals[key.first] = absl::FailedPreconditionError(absl::StrCat(
        "the relation that scopes index '", key.second, "' cannot be read; drop the index"));
  }
  for (const auto& [key, bad] : bad_indexes_) refusals[key.first] = bad.cause;
  for (const auto& [name, bad] : bad_relations_) {
    refusals[bad.owners] = bad.cause;
    refusals[bad.members] = bad.cause;
  }
  marks_ = storage::MakeMarks(std::move(indexes), std::move(relations), refusals);
}

}  // namespace millrace
