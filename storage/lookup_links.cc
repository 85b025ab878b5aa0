// The links of a record in a view of the store.

#include <string>
#include <utility>

#include "millrace/storage/key_cursor.h"
#include "millrace/storage/lookup.h"
#include "millrace/storage/lookup_pager.h"

namespace millrace::storage {
namespace {

KeySource LinkSource(std::string prefix) {
  std::string in_tree(KeyInTree(prefix));
  return {.l0_prefix = std::move(prefix),
          .tree = TreeId::kRelations,
          .tree_prefix = std::move(in_tree)};
}

}  // namespace

// Whether the record is the owner's member, if the index is scoped by owners.
absl::StatusOr<bool> Lookup::IsInScope(const Target& target, std::string_view owner,
                                       std::string_view id) const {
  if (!target.scope.has_value()) return true;
  const absl::StatusOr<std::optional<RowView::Link>> link =
      view_.FindLink(*target.scope, {.relation = target.scope->id, .owner = owner, .member = id});
  if (!link.ok()) return link.status();
  return link->has_value() && !(*link)->data.staged;
}

// The link that a row of either direction stands for, if it counts.
absl::StatusOr<std::optional<LinkRef>> Lookup::JudgeLink(const Relation& relation,
                                                         std::string_view key, bool staged) const {
  const absl::StatusOr<std::optional<CurrentRow>> row = view_.Find(key);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return std::nullopt;
  const absl::StatusOr<LinkRow> link = DecodeLinkRowKey(key, relation.order);
  if (!link.ok()) return link.status();
  const absl::StatusOr<LinkData> data = DecodeLinkData((*row)->payload);
  if (!data.ok()) return data.status();
  if (data->staged != staged) return std::nullopt;
  const absl::StatusOr<bool> live = view_.EndsLive(relation, link->ends, (*row)->version);
  if (!live.ok()) return live.status();
  if (!*live) return std::nullopt;
  return LinkRef{.owner = link->ends.owner,
                 .member = link->ends.member,
                 .version = (*row)->version,
                 .data = *data};
}

absl::StatusOr<FoundPage> Lookup::Links(const Relation& relation, std::string_view end,
                                        bool of_owner, const LinkQuery& query,
                                        absl::FunctionRef<bool(const LinkRef&)> visit) const {
  if (relation.id == 0) {
    return absl::InvalidArgumentError("the lookup names a relation that was never opened");
  }
  if (absl::Status status = CheckId(end); !status.ok()) return status;
  const std::string prefix = of_owner ? OwnerRowPrefix(kTrunk, relation.id, end)
                                      : MemberRowPrefix(kTrunk, relation.id, end);
  KeyCursor cursor(view_.buffers(), view_.transaction(), LinkSource(prefix), query.reverse);
  cursor.SeekFrom(query.after);
  LookupPager pager(query.offset, query.limit);
  std::string key;
  for (; cursor.Valid(); cursor.Next()) {
    if (absl::Status status = ended_(); !status.ok()) return status;
    if (!query.after.empty() && cursor.suffix() == query.after) continue;
    key = prefix;
    key.append(cursor.suffix());
    const absl::StatusOr<std::optional<LinkRef>> link = JudgeLink(relation, key, query.staged);
    if (!link.ok()) return link.status();
    if (!link->has_value()) continue;
    if (!pager.Take(cursor.suffix(), [&] { return visit(**link); })) break;
  }
  if (!cursor.status().ok()) return cursor.status();
  return std::move(pager.page());
}

}  // namespace millrace::storage
