#include "millrace/actors/store_audit.h"

#include "absl/strings/str_cat.h"

namespace millrace {

using storage::AuditDimension;
using storage::AuditPart;
using storage::AuditScope;
using storage::Collection;
using storage::IndexInfo;
using storage::Relation;

absl::StatusOr<storage::AuditReport> AuditStore(TakeSnapshot take_snapshot,
                                                const storage::AuditOptions& options) {
  const absl::StatusOr<storage::Snapshot> snapshot = take_snapshot();
  if (!snapshot.ok()) return snapshot.status();
  absl::StatusOr<StoreAudit> audit = StoreAudit::Plan(*snapshot, options);
  if (!audit.ok()) return audit.status();
  const auto look_only = [](const storage::AuditFinding&) { return absl::OkStatus(); };
  for (const AuditUnit& unit : audit->units()) {
    absl::Status status = audit->Run(unit, take_snapshot(), look_only);
    if (!status.ok()) return status;
  }
  return audit->report();
}

absl::StatusOr<StoreAudit> StoreAudit::Plan(const storage::Snapshot& snapshot,
                                            const storage::AuditOptions& options) {
  StoreAudit audit(options);
  if (absl::Status status = audit.Add(snapshot); !status.ok()) return status;
  if (!options.index.empty() && audit.report_.parts.empty()) {
    return absl::NotFoundError(
        absl::StrCat("collection '", options.collection, "' has no index '", options.index, "'"));
  }
  return audit;
}

absl::Status StoreAudit::Add(const storage::Snapshot& snapshot) {
  const absl::StatusOr<std::vector<Collection>> collections = snapshot.ListCollections();
  if (!collections.ok()) return collections.status();
  const absl::StatusOr<std::vector<storage::RelationInfo>> relations = snapshot.ListRelations();
  if (!relations.ok()) return relations.status();
  const absl::StatusOr<std::vector<IndexInfo>> indexes = snapshot.ListIndexes();
  if (!indexes.ok()) return indexes.status();
  Names names;
  for (const Collection& collection : *collections) {
    names[collection.id] = collection.name;
    if (!options_.collection.empty() && options_.collection != collection.name) continue;
    AuditUnit unit{.collection = collection};
    if (options_.index.empty()) {
      unit.rows = AddPart(AuditDimension::kRecords, collection.id, collection.name);
    }
    AddIndexes(*indexes, collection.name, /*scope=*/0, &unit);
    units_.push_back(std::move(unit));
  }
  if (!options_.collection.empty() && units_.empty()) {
    return absl::NotFoundError(absl::StrCat("there is no collection '", options_.collection, "'"));
  }
  for (const auto& [relation, readable] : *relations) {
    if (!readable.ok()) {
      AddUnreadable(relation, readable, *indexes, names);
      continue;
    }
    const bool joins = options_.collection.empty() ||
                       options_.collection == names[relation.owners] ||
                       options_.collection == names[relation.members];
    if (!joins) continue;
    AuditUnit unit{.relation = relation};
    if (options_.index.empty()) {
      unit.rows = AddPart(AuditDimension::kRelation, relation.id, relation.name);
    }
    AddIndexes(*indexes, names[relation.members], relation.id, &unit);
    units_.push_back(std::move(unit));
  }
  return absl::OkStatus();
}

// Nobody knows what it joins; neither it nor what it scopes can be checked.
void StoreAudit::AddUnreadable(const Relation& relation, const absl::Status& cause,
                               const std::vector<IndexInfo>& indexes, const Names& names) {
  if (options_.collection.empty() && options_.index.empty()) {
    const size_t part = AddPart(AuditDimension::kRelation, relation.id, relation.name);
    report_.parts[part].not_checked = cause;
  }
  for (const IndexInfo& index : indexes) {
    const storage::IndexDefinition& definition = index.definition;
    const auto collection = names.find(definition.collection);
    if (definition.scope != relation.id || collection == names.end()) continue;
    AuditUnit unit{.collection = Collection{.id = definition.collection}};
    AddIndexes({index}, collection->second, definition.scope, &unit);
    for (const auto& [unread, part] : unit.indexes) report_.parts[part].not_checked = cause;
  }
}

size_t StoreAudit::AddPart(AuditDimension dimension, uint64_t id, std::string name) {
  report_.parts.push_back({.dimension = dimension, .id = id, .name = std::move(name)});
  return report_.parts.size() - 1;
}

// Those of the collection that belong to the unit, also those that cannot be read.
void StoreAudit::AddIndexes(const std::vector<IndexInfo>& indexes, const std::string& collection,
                            storage::RelationId scope, AuditUnit* unit) {
  if (!options_.collection.empty() && options_.collection != collection) return;
  const bool scoped = unit->relation.has_value();
  const storage::CollectionId id = scoped ? unit->relation->members : unit->collection->id;
  for (const IndexInfo& index : indexes) {
    const storage::IndexDefinition& definition = index.definition;
    const bool wanted = options_.index.empty() || options_.index == definition.name;
    if (!wanted || definition.collection != id || definition.scope != scope) continue;
    const size_t part =
        AddPart(definition.unique() ? AuditDimension::kUniqueIndex : AuditDimension::kMultiIndex,
                definition.id, absl::StrCat(collection, ".", definition.name));
    unit->indexes.emplace_back(definition, part);
  }
}

absl::Status StoreAudit::Run(const AuditUnit& unit,
                             const absl::StatusOr<storage::Snapshot>& snapshot, Tell tell) {
  absl::Status told;
  absl::Status status = snapshot.status();
  if (status.ok()) {
    const auto remember = [&](const storage::AuditFinding& finding) {
      told = tell(finding);
      return told;
    };
    status = snapshot->Inspect([&](const storage::RowView& view,
                                   absl::FunctionRef<absl::Status()> ended) {
      return Look(
          unit,
          {.view = view, .ended = ended, .tell = remember, .samples_max = options_.samples_max});
    });
  }
  if (unit.rows.has_value()) report_.parts[*unit.rows].not_checked = status;
  for (const auto& [definition, part] : unit.indexes) {
    absl::Status& not_checked = report_.parts[part].not_checked;
    if (!status.ok() && !absl::IsFailedPrecondition(not_checked)) not_checked = status;
  }
  return told;
}

// An index that can be looked at is marked so, for now.
absl::Status StoreAudit::Look(const AuditUnit& unit, const AuditScope& scope) {
  std::vector<storage::AuditedIndex> audited;
  for (const auto& [definition, part] : unit.indexes) {
    absl::StatusOr<storage::MarkedIndex> index = storage::FindAuditable(scope.view, definition);
    report_.parts[part].not_checked = index.status();
    if (index.ok()) audited.push_back({*std::move(index), &report_.parts[part]});
  }
  AuditPart* const rows = unit.rows.has_value() ? &report_.parts[*unit.rows] : nullptr;
  if (unit.collection.has_value()) {
    return storage::AuditCollection(scope, *unit.collection, std::move(audited), rows);
  }
  return storage::AuditRelation(scope, *unit.relation, std::move(audited), rows);
}

}  // namespace millrace
