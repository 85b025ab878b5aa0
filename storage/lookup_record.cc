// Where one record stands: its links and its values in indexes.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "millrace/storage/index_entry.h"
#include "millrace/storage/lookup.h"

namespace millrace::storage {

absl::Status Lookup::Memberships(
    const RowKey& record, absl::FunctionRef<bool(const Relation&, const LinkRef&)> visit) const {
  if (absl::Status status = CheckId(record.id); !status.ok()) return status;
  const absl::StatusOr<std::vector<RelationInfo>> relations = ListRelations();
  if (!relations.ok()) return relations.status();
  bool more = true;
  for (const RelationInfo& info : *relations) {
    if (!more) break;
    if (!info.status.ok() || info.relation.members != record.collection) continue;
    const absl::StatusOr<FoundPage> page =
        Links(info.relation, record.id, /*of_owner=*/false, {},
              [&](const LinkRef& link) { return more = visit(info.relation, link); });
    if (!page.ok()) return page.status();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<IndexedValue>> Lookup::IndexedIn(const RowKey& record) const {
  if (absl::Status status = CheckId(record.id); !status.ok()) return status;
  const absl::StatusOr<std::optional<CurrentRow>> row =
      view_.Find(EncodeRowKey({.collection = record.collection, .id = record.id}));
  if (!row.ok()) return row.status();
  if (!row->has_value()) return absl::NotFoundError("");
  const absl::StatusOr<std::vector<IndexInfo>> indexes = ListIndexes();
  if (!indexes.ok()) return indexes.status();
  std::vector<IndexedValue> values;
  for (const IndexInfo& info : *indexes) {
    if (!info.status.ok() || info.definition.collection != record.collection) continue;
    absl::Status status = AddValues(info, record.id, (*row)->payload, &values);
    if (!status.ok()) return status;
  }
  return values;
}

// What one index holds, or should hold, of a record.
absl::Status Lookup::AddValues(const IndexInfo& index, std::string_view id,
                               std::string_view document, std::vector<IndexedValue>* out) const {
  IndexKey key;
  if (!IndexField(index.definition.field).Extract(document, &key)) return absl::OkStatus();
  IndexedValue value{.index = index.definition};
  std::string_view encoded = key.full;
  bool cut = false;
  if (!ConsumeIndexValue(&encoded, &value.value, &cut)) {
    return absl::InternalError("an index value does not decode");
  }
  absl::Status failed;
  const auto add = [&](std::string_view owner) {
    value.owner = std::string(owner);
    const absl::StatusOr<bool> has_entry =
        HasEntry(index, {.owner = owner, .value = key.entry(), .id = id});
    failed = has_entry.status();
    if (!has_entry.ok()) return false;
    value.has_entry = *has_entry;
    out->push_back(value);
    return true;
  };
  const absl::StatusOr<std::optional<Relation>> scope = ScopeOf(index.definition);
  if (!scope.ok()) return scope.status();
  if (!scope->has_value()) {
    add({});
    return failed;
  }
  const absl::StatusOr<FoundPage> page = Links(
      **scope, id, /*of_owner=*/false, {}, [&add](const LinkRef& link) { return add(link.owner); });
  return page.ok() ? failed : page.status();
}

// Whether the live build, or a commit that it does not hold yet, brings the record to lookups. Of
// the entry: owner, value and id.
absl::StatusOr<bool> Lookup::HasEntry(const IndexInfo& index, IndexEntry entry) const {
  if (!index.generations.Serves()) return false;
  std::string key;
  AppendCandidate(kTrunk, index.definition.id, entry.value, entry.id, &key);
  L0Row candidate;
  if (FindInL0(view_.buffers(), key, view_.version(), &candidate)) return true;
  entry.index = index.definition.id;
  entry.generation = index.generations.live;
  key.clear();
  AppendIndexEntry(entry, &key);
  const absl::StatusOr<std::optional<std::string_view>> row =
      view_.transaction().Get(TreeId::kIndex, key);
  if (!row.ok()) return row.status();
  return row->has_value();
}

}  // namespace millrace::storage
