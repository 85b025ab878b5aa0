#include "millrace/storage/lookup.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/index_entry.h"
#include "millrace/storage/key_cursor.h"
#include "millrace/storage/lookup_judge.h"
#include "millrace/storage/lookup_pager.h"
#include "millrace/storage/row_cursor.h"

namespace millrace::storage {
namespace {

// The first byte of an encoding tells the type; both booleans are one.
char TypeOf(std::string_view encoded) {
  return static_cast<char>(encoded.front() & '\xf0');
}

absl::Status BadQuery(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the lookup ", what));
}

}  // namespace

bool Lookup::Range::Holds(std::string_view full) const {
  if (!equal.full.empty()) return full == equal.full;
  if (!prefix.empty()) return full.starts_with(prefix);
  return (from.full.empty() || full >= from.full) && (to.full.empty() || full < to.full);
}

absl::StatusOr<Lookup::Range> Lookup::RangeOf(const IndexQuery& query) {
  const bool bounded = query.from.has_value() || query.to.has_value();
  if ((query.equal.has_value() ? 1 : 0) + (query.prefix.has_value() ? 1 : 0) + (bounded ? 1 : 0) >
      1) {
    return BadQuery("asks for several of a value, a prefix and a range; ask for one");
  }
  if (bounded) return RangeBetween(query);
  Range range;
  if (query.equal.has_value()) {
    if (absl::Status status = CheckIndexValue(*query.equal); !status.ok()) return status;
    if (IsBlank(*query.equal)) return BadQuery("asks for a blank value; no index holds one");
    SetIndexKey(*query.equal, &range.equal);
    range.begin = std::string(range.equal.entry());
    range.end = PrefixSuccessor(range.begin);
  } else if (query.prefix.has_value()) {
    range.begin = IndexTextPrefix(*query.prefix);
    range.end = PrefixSuccessor(range.begin);
    AppendIndexValue(IndexValue(*query.prefix), &range.prefix);
    range.prefix.resize(range.prefix.size() - 2);  // Without its end.
  }
  return range;
}

// A bound that is not set is the end of the other one's type.
absl::StatusOr<Lookup::Range> Lookup::RangeBetween(const IndexQuery& query) {
  Range range;
  for (const auto& [bound, key] : {std::pair(&query.from, &range.from), {&query.to, &range.to}}) {
    if (!bound->has_value()) continue;
    if (absl::Status status = CheckIndexValue(**bound); !status.ok()) return status;
    SetIndexKey(**bound, key);
  }
  const IndexKey& from = range.from;
  const IndexKey& to = range.to;
  const char type = TypeOf(from.full.empty() ? to.full : from.full);
  if (!to.full.empty() && TypeOf(to.full) != type) {
    return BadQuery("has a range between values of two types");
  }
  range.begin = from.full.empty() ? std::string(1, type) : std::string(from.entry());
  if (to.full.empty()) {
    range.end = std::string(1, static_cast<char>(type + 0x10));
  } else {
    range.end = to.cut.empty() ? to.full : PrefixSuccessor(to.cut);
  }
  return range;
}

absl::Status Lookup::CheckAfter(const IndexQuery& query, const Range& range) {
  if (query.after.empty()) return absl::OkStatus();
  std::string_view id = query.after;
  const bool good = SkipIndexValue(&id) && !id.empty() && query.after >= range.begin &&
                    (range.end.empty() || query.after < range.end);
  return good ? absl::OkStatus() : BadQuery("goes on after a page of another query");
}

// The definition of the same name as it is in this view, if it still is the same index.
absl::StatusOr<IndexDefinition> Lookup::Current(const IndexDefinition& index) const {
  absl::StatusOr<IndexDefinition> current = FindIndex(index.collection, index.name);
  if (!current.ok() || current->id == index.id) return current;
  return absl::NotFoundError(
      absl::StrCat("index '", index.name, "' was dropped or defined anew; look it up again"));
}

// The index as it is in this view, with its scope and its builds, ready to be asked.
absl::StatusOr<Lookup::Target> Lookup::TargetOf(const IndexDefinition& index,
                                                std::string_view owner, bool may_scan) const {
  absl::StatusOr<IndexDefinition> current = Current(index);
  if (!current.ok()) return current.status();
  if (current->scoped() != !owner.empty()) {
    return BadQuery(current->scoped() ? "names no owner, and the index is scoped by one"
                                      : "names an owner, and the index is not scoped");
  }
  absl::StatusOr<std::optional<Relation>> scope = ScopeOf(*current);
  if (!scope.ok()) return scope.status();
  absl::StatusOr<GenerationState> generations = ReadGenerations(view_.transaction(), *current);
  if (!generations.ok()) return generations.status();
  if (!generations->Serves() && !may_scan) {
    return absl::FailedPreconditionError(
        absl::StrCat("index '", current->name, "' is not built yet, and the lookup may not scan"));
  }
  return Target{.index = *std::move(current),
                .scope = *std::move(scope),
                .generations = *std::move(generations)};
}

absl::StatusOr<FoundPage> Lookup::Find(const IndexDefinition& index, const IndexQuery& query,
                                       absl::FunctionRef<bool(const Found&)> visit) const {
  const absl::StatusOr<Target> target = TargetOf(index, query.owner, query.may_scan);
  if (!target.ok()) return target.status();
  const absl::StatusOr<Range> range = RangeOf(query);
  if (!range.ok()) return range.status();
  if (absl::Status status = CheckAfter(query, *range); !status.ok()) return status;
  const Asked asked{.target = *target, .query = query, .range = *range};
  return target->generations.Serves() ? Walk(asked, visit) : Scan(asked, visit);
}

// Calls `visit` with the place of each entry and candidate of the range, in order, until it answers
// false or an error.
absl::Status Lookup::ForEachPlace(
    const Asked& asked, absl::FunctionRef<absl::StatusOr<bool>(std::string_view)> visit) const {
  const auto& [target, query, range] = asked;
  KeyCursor cursor(view_.buffers(), view_.transaction(),
                   {.l0_prefix = CandidatePrefix(kTrunk, target.index.id),
                    .tree = TreeId::kIndex,
                    .tree_prefix = IndexOwnerPrefix(kTrunk, target.index.id,
                                                    target.generations.live, query.owner)},
                   query.reverse);
  if (!query.after.empty()) {
    cursor.Seek(query.after);
  } else {
    cursor.SeekFrom(query.reverse ? range.end : range.begin);
  }
  for (; cursor.Valid(); cursor.Next()) {
    if (absl::Status status = ended_(); !status.ok()) return status;
    const std::string_view place = cursor.suffix();
    if (range.Ends(place, query.reverse)) break;
    if (place == query.after || range.IsAbove(place)) continue;
    const absl::StatusOr<bool> more = visit(place);
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
  }
  return cursor.status();
}

absl::StatusOr<FoundPage> Lookup::Walk(const Asked& asked,
                                       absl::FunctionRef<bool(const Found&)> visit) const {
  Judge judge(*this, asked);
  LookupPager pager(asked.query.offset, asked.query.limit);
  const absl::Status status =
      ForEachPlace(asked, [&](std::string_view place) -> absl::StatusOr<bool> {
        const absl::StatusOr<std::optional<Found>> found = judge.Find(place);
        if (!found.ok()) return found.status();
        return !found->has_value() || pager.Take(place, [&] { return visit(**found); });
      });
  if (!status.ok()) return status;
  return std::move(pager.page());
}

// Calls `take` with the place of each record that the index should hold and that is asked for, in
// no order.
absl::Status Lookup::Collect(const Asked& asked, absl::FunctionRef<void(std::string)> take) const {
  const auto& [target, query, range] = asked;
  const std::string prefix =
      EncodeCollectionPrefix(Tree::kRecords, kTrunk, target.index.collection);
  const IndexField field(target.index.field);
  IndexKey key;
  RowCursor rows(view_.transaction(), view_.buffers(), Tree::kRecords, view_.version());
  for (rows.Seek(prefix); rows.Valid() && rows.key().starts_with(prefix); rows.Next()) {
    if (absl::Status status = ended_(); !status.ok()) return status;
    if (!field.Extract(rows.payload(), &key) || !range.Holds(key.full)) continue;
    const std::string_view id = rows.key().substr(prefix.size());
    std::string place(key.entry());
    if (place < range.begin || range.IsAbove(place)) continue;
    place.append(id);
    const bool passed = query.reverse ? place >= query.after : place <= query.after;
    if (!query.after.empty() && passed) continue;
    const absl::StatusOr<bool> in_scope = IsInScope(target, query.owner, id);
    if (!in_scope.ok()) return in_scope.status();
    if (*in_scope) take(std::move(place));
  }
  return rows.status();
}

// The places of what is asked for in order: no more than a page needs, and one to know whether
// there is more.
absl::StatusOr<std::vector<std::string>> Lookup::Places(const Asked& asked) const {
  const IndexQuery& query = asked.query;
  const uint64_t needed = query.offset + std::min(query.limit, ~uint64_t{0} - query.offset);
  const auto before = [&query](const std::string& a, const std::string& b) {
    return query.reverse ? b < a : a < b;
  };
  std::priority_queue<std::string, std::vector<std::string>, decltype(before)> kept(before);
  const absl::Status collected = Collect(asked, [&](std::string place) {
    kept.push(std::move(place));
    if (kept.size() > needed && kept.size() - needed > 1) kept.pop();
  });
  if (!collected.ok()) return collected;
  std::vector<std::string> places(kept.size());
  for (size_t i = places.size(); i > 0; kept.pop()) places[--i] = kept.top();
  return places;
}

absl::StatusOr<FoundPage> Lookup::Scan(const Asked& asked,
                                       absl::FunctionRef<bool(const Found&)> visit) const {
  const absl::StatusOr<std::vector<std::string>> places = Places(asked);
  if (!places.ok()) return places.status();
  LookupPager pager(asked.query.offset, asked.query.limit);
  pager.page().scanned = true;
  for (const std::string& place : *places) {
    std::string_view id = place;
    SkipIndexValue(&id);
    const absl::StatusOr<std::optional<Found>> found = FindRecord(asked.target.index, id);
    if (!found.ok()) return found.status();
    if (found->has_value() && !pager.Take(place, [&] { return visit(**found); })) break;
  }
  return std::move(pager.page());
}

absl::StatusOr<std::optional<Lookup::Found>> Lookup::FindRecord(const IndexDefinition& index,
                                                                std::string_view id) const {
  const absl::StatusOr<std::optional<CurrentRow>> record =
      view_.Find(EncodeRowKey({.collection = index.collection, .id = id}));
  if (!record.ok()) return record.status();
  if (!record->has_value()) return std::nullopt;
  return Found{.id = id, .version = (*record)->version, .document = (*record)->payload};
}

}  // namespace millrace::storage
