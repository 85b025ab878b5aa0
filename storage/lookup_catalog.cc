// The definitions that a view of the store holds.

#include "absl/strings/str_cat.h"

#include "millrace/storage/catalog.h"
#include "millrace/storage/lookup.h"
#include "millrace/storage/row_cursor.h"

namespace millrace::storage {

absl::StatusOr<IndexDefinition> Lookup::FindIndex(CollectionId collection,
                                                  std::string_view name) const {
  const std::string key = IndexDefinitionKey(collection, name);
  const absl::StatusOr<std::optional<CurrentRow>> row = view_.Find(key);
  if (!row.ok()) return row.status();
  if (row->has_value()) return ReadIndexDefinition(key, (*row)->payload);
  return absl::NotFoundError(
      absl::StrCat("there is no index '", ToAbsl(name), "' on collection ", collection));
}

absl::StatusOr<std::vector<IndexInfo>> Lookup::ListIndexes() const {
  const std::string prefix = AllIndexDefinitionsPrefix();
  std::vector<IndexInfo> indexes;
  RowCursor rows(view_.transaction(), view_.buffers(), Tree::kCatalog, view_.version());
  for (rows.Seek(prefix); rows.Valid() && rows.key().starts_with(prefix); rows.Next()) {
    const absl::StatusOr<IndexName> name = ReadIndexDefinitionKey(rows.key());
    if (!name.ok()) return name.status();
    IndexInfo& info = indexes.emplace_back();
    absl::StatusOr<IndexDefinition> definition = ReadIndexDefinition(rows.key(), rows.payload());
    info.status = definition.status();
    if (definition.ok()) {
      info.definition = *std::move(definition);
      absl::StatusOr<GenerationState> state = ReadGenerations(view_.transaction(), info.definition);
      info.status = state.status();
      if (state.ok()) info.generations = *std::move(state);
      info.complete = info.status.ok() && info.generations.Fulfils(info.definition);
    } else {
      info.definition.id = PeekIndexId(rows.payload());
      info.definition.collection = name->collection;
      info.definition.name = std::string(name->name);
    }
  }
  if (!rows.status().ok()) return rows.status();
  return indexes;
}

absl::StatusOr<Relation> Lookup::FindRelation(std::string_view name) const {
  const absl::StatusOr<std::optional<CurrentRow>> row = view_.Find(RelationDefinitionKey(name));
  if (!row.ok()) return row.status();
  if (row->has_value()) return ReadRelation(name, (*row)->payload);
  return absl::NotFoundError(absl::StrCat("there is no relation '", ToAbsl(name), "'"));
}

absl::StatusOr<std::vector<RelationInfo>> Lookup::ListRelations() const {
  const std::string prefix = AllRelationsPrefix();
  std::vector<RelationInfo> relations;
  RowCursor rows(view_.transaction(), view_.buffers(), Tree::kCatalog, view_.version());
  for (rows.Seek(prefix); rows.Valid() && rows.key().starts_with(prefix); rows.Next()) {
    const std::string_view name = rows.key().substr(prefix.size());
    RelationInfo& info = relations.emplace_back();
    absl::StatusOr<Relation> relation = ReadRelation(name, rows.payload());
    info.status = relation.status();
    if (relation.ok()) {
      info.relation = *std::move(relation);
    } else {
      info.relation.id = CatalogNumber(DocumentView(rows.payload()), "id");
      info.relation.name = std::string(name);
    }
  }
  if (!rows.status().ok()) return rows.status();
  return relations;
}

// The relation that scopes the index, if one does.
absl::StatusOr<std::optional<Relation>> Lookup::ScopeOf(const IndexDefinition& index) const {
  if (!index.scoped()) return std::nullopt;
  absl::StatusOr<std::vector<RelationInfo>> relations = ListRelations();
  if (!relations.ok()) return relations.status();
  for (RelationInfo& info : *relations) {
    if (info.relation.id != index.scope) continue;
    if (!info.status.ok()) return info.status;
    return std::move(info.relation);
  }
  return absl::DataLossError(
      absl::StrCat("the relation that scopes index '", index.name, "' is not in the catalog"));
}

}  // namespace millrace::storage
