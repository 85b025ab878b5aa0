// Lookups of many values at once.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "millrace/storage/lookup.h"
#include "millrace/storage/row_cursor.h"

namespace millrace::storage {

absl::StatusOr<FoundPage> Lookup::FindMany(
    const IndexDefinition& index, const ManyQuery& query,
    absl::FunctionRef<bool(size_t value, const Found&)> visit) const {
  const absl::StatusOr<Target> target = TargetOf(index, query.owner, /*may_scan=*/true);
  if (!target.ok()) return target.status();
  for (const IndexValue& value : query.values) {
    if (absl::Status status = CheckIndexValue(value); !status.ok()) return status;
  }
  if (!target->generations.Serves()) return ScanMany(*target, query, visit);
  FoundPage all;
  bool more = true;
  for (size_t i = 0; i < query.values.size() && more; ++i) {
    if (IsBlank(query.values[i])) continue;
    const IndexQuery one{.equal = query.values[i], .owner = std::string(query.owner)};
    const absl::StatusOr<Range> range = RangeOf(one);
    if (!range.ok()) return range.status();
    const absl::StatusOr<FoundPage> page =
        Walk({.target = *target, .query = one, .range = *range},
             [&](const Found& found) { return more = visit(i, found); });
    if (!page.ok()) return page.status();
    all.count += page->count;
  }
  return all;
}

// The records are gone through once, whatever the number of values.
absl::StatusOr<FoundPage> Lookup::ScanMany(
    const Target& target, const ManyQuery& query,
    absl::FunctionRef<bool(size_t value, const Found&)> visit) const {
  IdsByValue ids;
  std::vector<IndexKey> keys(query.values.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (IsBlank(query.values[i])) continue;
    SetIndexKey(query.values[i], &keys[i]);
    ids[keys[i].full];
  }
  if (absl::Status status = CollectMany(target, query.owner, &ids); !status.ok()) return status;
  FoundPage page{.scanned = true};
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].full.empty()) continue;
    for (const std::string& id : ids[keys[i].full]) {
      const absl::StatusOr<std::optional<Found>> found = FindRecord(target.index, id);
      if (!found.ok()) return found.status();
      if (!found->has_value()) continue;
      ++page.count;
      if (!visit(i, **found)) return page;
    }
  }
  return page;
}

// Adds to each value the records that have it, in order.
absl::Status Lookup::CollectMany(const Target& target, std::string_view owner,
                                 IdsByValue* ids) const {
  const std::string prefix =
      EncodeCollectionPrefix(Tree::kRecords, kTrunk, target.index.collection);
  const IndexField field(target.index.field);
  IndexKey key;
  RowCursor rows(view_.transaction(), view_.buffers(), Tree::kRecords, view_.version());
  for (rows.Seek(prefix); rows.Valid() && rows.key().starts_with(prefix); rows.Next()) {
    if (absl::Status status = ended_(); !status.ok()) return status;
    if (!field.Extract(rows.payload(), &key)) continue;
    const auto wanted = ids->find(key.full);
    if (wanted == ids->end()) continue;
    const std::string_view id = rows.key().substr(prefix.size());
    const absl::StatusOr<bool> in_scope = IsInScope(target, owner, id);
    if (!in_scope.ok()) return in_scope.status();
    if (*in_scope) wanted->second.emplace_back(id);
  }
  return rows.status();
}

}  // namespace millrace::storage
