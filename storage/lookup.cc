#include "millrace/storage/lookup.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/index_entry.h"
#include "millrace/storage/key_cursor.h"
#include "millrace/storage/lookup_pager.h"
#include "millrace/storage/row_cursor.h"

namespace millrace::storage {
namespace {

std::string RecordKey(CollectionId collection, std::string_view id) {
  return EncodeRowKey({.collection = collection, .id = id});
}

// The first byte of an encoding tells the type; both booleans are one.
char TypeOf(std::string_view encoded) {
  return static_cast<char>(encoded.front() & '\xf0');
}

absl::Status BadQuery(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the lookup ", what));
}

}  // namespace

// Judges the entries and candidates of one lookup by their records.
class Lookup::Judge {
 public:
  // Lookup and question outlive it.
  Judge(const Lookup& lookup, const Asked& asked)
      : lookup_(lookup),
        asked_(asked),
        field_(asked.index.field),
        record_key_(EncodeCollectionPrefix(Tree::kRecords, kTrunk, asked.index.collection)),
        record_prefix_bytes_(record_key_.size()) {}

  // The record that the place (value, id) stands for, if it still has the value, and if that is
  // asked for. DataLoss: it is no place.
  absl::StatusOr<std::optional<Found>> Find(std::string_view place) {
    std::string_view id = place;
    if (!SkipIndexValue(&id) || id.empty()) {
      return absl::DataLossError(
          absl::StrCat("index '", asked_.index.name, "' holds a damaged entry; rebuild the index"));
    }
    record_key_.resize(record_prefix_bytes_);
    record_key_.append(id);
    const absl::StatusOr<std::optional<CurrentRow>> record = lookup_.view_.Find(record_key_);
    if (!record.ok()) return record.status();
    if (!record->has_value() || !field_.Extract((*record)->payload, &key_)) return std::nullopt;
    if (key_.entry() != place.substr(0, place.size() - id.size())) return std::nullopt;
    if (!asked_.range.Holds(key_.full)) return std::nullopt;
    if (asked_.scope != nullptr) {
      const absl::StatusOr<bool> member = lookup_.IsMember(*asked_.scope, asked_.query.owner, id);
      if (!member.ok()) return member.status();
      if (!*member) return std::nullopt;
    }
    return Found{.id = id, .version = (*record)->version, .document = (*record)->payload};
  }

 private:
  const Lookup& lookup_;
  const Asked& asked_;
  const IndexField field_;
  std::string record_key_;
  const size_t record_prefix_bytes_;
  IndexKey key_;
};

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

// The relation that scopes the index, if one does.
absl::StatusOr<std::optional<Relation>> Lookup::ScopeOf(const IndexDefinition& index) const {
  if (!index.scoped()) return std::nullopt;
  absl::StatusOr<std::vector<Relation>> relations = ListRelations();
  if (!relations.ok()) return relations.status();
  for (Relation& relation : *relations) {
    if (relation.id == index.scope) return std::move(relation);
  }
  return absl::DataLossError(
      absl::StrCat("the relation that scopes index '", index.name, "' is not in the catalog"));
}

absl::StatusOr<FoundPage> Lookup::Find(const IndexDefinition& index, const IndexQuery& query,
                                       absl::FunctionRef<bool(const Found&)> visit) const {
  const absl::StatusOr<IndexDefinition> current = Current(index);
  if (!current.ok()) return current.status();
  if (current->scoped() != !query.owner.empty()) {
    return BadQuery(current->scoped() ? "names no owner, and the index is scoped by one"
                                      : "names an owner, and the index is not scoped");
  }
  const absl::StatusOr<Range> range = RangeOf(query);
  if (!range.ok()) return range.status();
  if (absl::Status status = CheckAfter(query, *range); !status.ok()) return status;
  const absl::StatusOr<std::optional<Relation>> scope = ScopeOf(*current);
  if (!scope.ok()) return scope.status();
  const absl::StatusOr<GenerationState> state = ReadGenerations(view_.transaction(), *current);
  if (!state.ok()) return state.status();
  const Asked asked{.index = *current,
                    .scope = scope->has_value() ? &**scope : nullptr,
                    .query = query,
                    .range = *range};
  if (state->Serves()) return Walk(asked, state->live, visit);
  if (query.may_scan) return Scan(asked, visit);
  return absl::FailedPreconditionError(
      absl::StrCat("index '", current->name, "' is not built yet, and the lookup may not scan"));
}

// Entries and candidates in order, each judged by its record.
absl::StatusOr<FoundPage> Lookup::Walk(const Asked& asked, Generation generation,
                                       absl::FunctionRef<bool(const Found&)> visit) const {
  const auto& [index, scope, query, range] = asked;
  KeyCursor cursor(view_.buffers(), view_.transaction(),
                   {.l0_prefix = CandidatePrefix(kTrunk, index.id),
                    .tree = TreeId::kIndex,
                    .tree_prefix = IndexOwnerPrefix(kTrunk, index.id, generation, query.owner)},
                   query.reverse);
  if (!query.after.empty()) {
    cursor.Seek(query.after);
  } else {
    cursor.SeekFrom(query.reverse ? range.end : range.begin);
  }
  Judge judge(*this, asked);
  LookupPager pager(query.limit);
  for (; cursor.Valid(); cursor.Next()) {
    if (absl::Status status = ended_(); !status.ok()) return status;
    const std::string_view suffix = cursor.suffix();
    if (range.Ends(suffix, query.reverse)) break;
    if (suffix == query.after || range.IsAbove(suffix)) continue;
    const absl::StatusOr<std::optional<Found>> found = judge.Find(suffix);
    if (!found.ok()) return found.status();
    if (!found->has_value()) continue;
    if (!pager.Take(suffix, [&] { return visit(**found); })) break;
  }
  if (!cursor.status().ok()) return cursor.status();
  return std::move(pager.page());
}

// Calls `take` with the place of each record that the index should hold in the range, whatever its
// owners.
absl::Status Lookup::Collect(const Asked& asked, absl::FunctionRef<void(std::string)> take) const {
  const std::string prefix = EncodeCollectionPrefix(Tree::kRecords, kTrunk, asked.index.collection);
  const IndexField field(asked.index.field);
  IndexKey key;
  RowCursor rows(view_.transaction(), view_.buffers(), Tree::kRecords, view_.version());
  for (rows.Seek(prefix); rows.Valid() && rows.key().starts_with(prefix); rows.Next()) {
    if (absl::Status status = ended_(); !status.ok()) return status;
    if (!field.Extract(rows.payload(), &key) || !asked.range.Holds(key.full)) continue;
    std::string place(key.entry());
    if (place < asked.range.begin || asked.range.IsAbove(place)) continue;
    place.append(rows.key().substr(prefix.size()));
    take(std::move(place));
  }
  return rows.status();
}

// The places of what is asked for in order: no more than a page needs, and one to know whether
// there is more.
absl::StatusOr<std::vector<std::string>> Lookup::Places(const Asked& asked) const {
  const IndexQuery& query = asked.query;
  const auto before = [&query](const std::string& a, const std::string& b) {
    return query.reverse ? b < a : a < b;
  };
  std::priority_queue<std::string, std::vector<std::string>, decltype(before)> kept(before);
  absl::Status failed;
  const absl::Status collected = Collect(asked, [&](std::string place) {
    if (!query.after.empty() && !before(query.after, place)) return;
    if (asked.scope != nullptr) {
      std::string_view id = place;
      SkipIndexValue(&id);
      const absl::StatusOr<bool> member = IsMember(*asked.scope, query.owner, id);
      if (!member.ok()) failed = member.status();
      if (!member.ok() || !*member) return;
    }
    kept.push(std::move(place));
    if (kept.size() > query.limit && kept.size() - query.limit > 1) kept.pop();
  });
  if (!collected.ok()) return collected;
  if (!failed.ok()) return failed;
  std::vector<std::string> places(kept.size());
  for (size_t i = places.size(); i > 0; kept.pop()) places[--i] = kept.top();
  return places;
}

absl::StatusOr<FoundPage> Lookup::Scan(const Asked& asked,
                                       absl::FunctionRef<bool(const Found&)> visit) const {
  const absl::StatusOr<std::vector<std::string>> places = Places(asked);
  if (!places.ok()) return places.status();
  LookupPager pager(asked.query.limit);
  pager.page().scanned = true;
  for (const std::string& place : *places) {
    std::string_view id = place;
    SkipIndexValue(&id);
    const absl::StatusOr<std::optional<CurrentRow>> record =
        view_.Find(RecordKey(asked.index.collection, id));
    if (!record.ok()) return record.status();
    if (!record->has_value()) continue;
    const Found found{.id = id, .version = (*record)->version, .document = (*record)->payload};
    if (!pager.Take(place, [&] { return visit(found); })) break;
  }
  return std::move(pager.page());
}

}  // namespace millrace::storage
