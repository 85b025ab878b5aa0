#include "millrace/storage/lookup.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/catalog.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/key_cursor.h"
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

KeySource LinkSource(std::string prefix) {
  std::string in_tree(KeyInTree(prefix));
  return {.l0_prefix = std::move(prefix),
          .tree = TreeId::kRelations,
          .tree_prefix = std::move(in_tree)};
}

absl::Status BadQuery(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the lookup ", what));
}

}  // namespace

// Counts what is visited, and looks one further than the limit to know whether there is more.
class Lookup::Pager {
 public:
  explicit Pager(uint64_t limit) : limit_(limit) {}

  // Whether another record may be visited; not: there is more, and the page is full.
  bool Admits() {
    if (page_.count < limit_) return true;
    page_.next = last_;
    return false;
  }
  // After a visit: `suffix` is its place. False if the visitor wants no more.
  bool Took(std::string_view suffix, bool more) {
    ++page_.count;
    last_.assign(suffix);
    if (!more) page_.next = last_;
    return more;
  }
  FoundPage& page() { return page_; }

 private:
  const uint64_t limit_;
  FoundPage page_;
  std::string last_;
};

bool Lookup::Range::Holds(std::string_view full) const {
  if (!equal.full.empty()) return full == equal.full;
  if (!prefix.empty()) return full.starts_with(prefix);
  return (from.full.empty() || full >= from.full) && (to.full.empty() || full < to.full);
}

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

absl::StatusOr<std::vector<Relation>> Lookup::ListRelations() const {
  const std::string prefix = AllRelationsPrefix();
  std::vector<Relation> relations;
  RowCursor rows(view_.transaction(), view_.buffers(), Tree::kCatalog, view_.version());
  for (rows.Seek(prefix); rows.Valid() && rows.key().starts_with(prefix); rows.Next()) {
    absl::StatusOr<Relation> relation =
        ReadRelation(rows.key().substr(prefix.size()), rows.payload());
    if (!relation.ok()) return relation.status();
    relations.push_back(*std::move(relation));
  }
  if (!rows.status().ok()) return rows.status();
  return relations;
}

// Most of its branches pass an error on. NOLINTNEXTLINE(readability-function-cognitive-complexity)
absl::StatusOr<Lookup::Range> Lookup::RangeOf(const IndexQuery& query) {
  const int ways = (query.equal.has_value() ? 1 : 0) + (query.prefix.has_value() ? 1 : 0) +
                   (query.from.has_value() || query.to.has_value() ? 1 : 0);
  if (ways > 1) return BadQuery("asks for several of a value, a prefix and a range; ask for one");
  for (const std::optional<IndexValue>* value : {&query.equal, &query.from, &query.to}) {
    if (!value->has_value()) continue;
    if (absl::Status status = CheckIndexValue(**value); !status.ok()) return status;
  }
  Range range;
  if (query.equal.has_value()) {
    if (IsBlank(*query.equal)) return BadQuery("asks for a blank value; no index holds one");
    SetIndexKey(*query.equal, &range.equal);
    range.begin = std::string(range.equal.entry());
    range.end = PrefixSuccessor(range.begin);
  } else if (query.prefix.has_value()) {
    range.begin = IndexTextPrefix(*query.prefix);
    range.end = PrefixSuccessor(range.begin);
    AppendIndexValue(IndexValue(*query.prefix), &range.prefix);
    range.prefix.resize(range.prefix.size() - 2);  // Without its end.
  } else if (ways == 1) {
    if (query.from.has_value()) SetIndexKey(*query.from, &range.from);
    if (query.to.has_value()) SetIndexKey(*query.to, &range.to);
    const char type = TypeOf(query.from.has_value() ? range.from.full : range.to.full);
    if (query.from.has_value() && query.to.has_value() && TypeOf(range.to.full) != type) {
      return BadQuery("has a range between values of two types");
    }
    range.begin = query.from.has_value() ? std::string(range.from.entry()) : std::string(1, type);
    range.end = std::string(1, static_cast<char>(type + 0x10));
    if (query.to.has_value()) {
      range.end = range.to.cut.empty() ? range.to.full : PrefixSuccessor(range.to.cut);
    }
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
  std::optional<Relation> scope;
  if (current->scoped()) {
    const absl::StatusOr<std::vector<Relation>> relations = ListRelations();
    if (!relations.ok()) return relations.status();
    for (const Relation& relation : *relations) {
      if (relation.id == current->scope) scope = relation;
    }
    if (!scope.has_value()) {
      return absl::DataLossError(absl::StrCat("the relation that scopes index '", current->name,
                                              "' is not in the catalog"));
    }
  }
  const absl::StatusOr<GenerationState> state = ReadGenerations(view_.transaction(), *current);
  if (!state.ok()) return state.status();
  const Relation* const scope_of = scope.has_value() ? &*scope : nullptr;
  if (state->Serves()) return Walk(*current, state->live, scope_of, query, *range, visit);
  if (query.may_scan) return Scan(*current, scope_of, query, *range, visit);
  return absl::FailedPreconditionError(
      absl::StrCat("index '", current->name, "' is not built yet, and the lookup may not scan"));
}

// Entries and candidates in order, each judged by its record.
// Most of its branches pass an error on.
// NOLINTNEXTLINE(readability-function-cognitive-complexity,readability-function-size)
absl::StatusOr<FoundPage> Lookup::Walk(const IndexDefinition& index, Generation generation,
                                       const Relation* scope, const IndexQuery& query,
                                       const Range& range,
                                       absl::FunctionRef<bool(const Found&)> visit) const {
  KeyCursor cursor(view_.buffers(), view_.transaction(),
                   {.l0_prefix = CandidatePrefix(kTrunk, index.id),
                    .tree = TreeId::kIndex,
                    .tree_prefix = IndexOwnerPrefix(kTrunk, index.id, generation, query.owner)},
                   query.reverse);
  const std::string& start = !query.after.empty() ? query.after
                             : query.reverse      ? range.end
                                                  : range.begin;
  if (query.reverse && start.empty()) {
    cursor.SeekToEnd();
  } else {
    cursor.Seek(start);
  }
  const IndexField field(index.field);
  IndexKey key;
  Pager pager(query.limit);
  for (; cursor.Valid(); cursor.Next()) {
    if (absl::Status status = ended_(); !status.ok()) return status;
    const std::string_view suffix = cursor.suffix();
    if (query.reverse ? suffix < range.begin : !range.end.empty() && suffix >= range.end) break;
    if (suffix == query.after || (!range.end.empty() && suffix >= range.end)) continue;
    std::string_view id = suffix;
    if (!SkipIndexValue(&id) || id.empty()) {
      return absl::DataLossError(
          absl::StrCat("index '", index.name, "' holds a damaged entry; rebuild the index"));
    }
    const absl::StatusOr<std::optional<CurrentRow>> record =
        view_.Find(RecordKey(index.collection, id));
    if (!record.ok()) return record.status();
    if (!record->has_value() || !field.Extract((*record)->payload, &key)) continue;
    if (key.entry() != suffix.substr(0, suffix.size() - id.size()) || !range.Holds(key.full)) {
      continue;
    }
    if (scope != nullptr) {
      const absl::StatusOr<bool> member = IsMember(*scope, query.owner, id);
      if (!member.ok()) return member.status();
      if (!*member) continue;
    }
    if (!pager.Admits()) break;
    const Found found{.id = id, .version = (*record)->version, .document = (*record)->payload};
    if (!pager.Took(suffix, visit(found))) break;
  }
  if (!cursor.status().ok()) return cursor.status();
  return std::move(pager.page());
}

// Calls `take` with the place of each record that the index should hold in the range.
absl::Status Lookup::Collect(const IndexDefinition& index, const Range& range,
                             absl::FunctionRef<void(std::string)> take) const {
  const std::string prefix = EncodeCollectionPrefix(Tree::kRecords, kTrunk, index.collection);
  const IndexField field(index.field);
  IndexKey key;
  RowCursor rows(view_.transaction(), view_.buffers(), Tree::kRecords, view_.version());
  for (rows.Seek(prefix); rows.Valid() && rows.key().starts_with(prefix); rows.Next()) {
    if (absl::Status status = ended_(); !status.ok()) return status;
    if (!field.Extract(rows.payload(), &key) || !range.Holds(key.full)) continue;
    std::string place(key.entry());
    if (place < range.begin || (!range.end.empty() && place >= range.end)) continue;
    place.append(rows.key().substr(prefix.size()));
    take(std::move(place));
  }
  return rows.status();
}

// In the order of the index: the places are sorted, of which no more are kept than a page needs.
// Most of its branches pass an error on. NOLINTNEXTLINE(readability-function-cognitive-complexity)
absl::StatusOr<FoundPage> Lookup::Scan(const IndexDefinition& index, const Relation* scope,
                                       const IndexQuery& query, const Range& range,
                                       absl::FunctionRef<bool(const Found&)> visit) const {
  const auto before = [&query](const std::string& a, const std::string& b) {
    return query.reverse ? b < a : a < b;
  };
  std::priority_queue<std::string, std::vector<std::string>, decltype(before)> kept(before);
  absl::Status failed;
  const absl::Status collected = Collect(index, range, [&](std::string place) {
    if (!query.after.empty() && !before(query.after, place)) return;
    if (scope != nullptr) {
      std::string_view id = place;
      SkipIndexValue(&id);
      const absl::StatusOr<bool> member = IsMember(*scope, query.owner, id);
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
  Pager pager(query.limit);
  pager.page().scanned = true;
  for (const std::string& place : places) {
    if (!pager.Admits()) break;
    std::string_view id = place;
    SkipIndexValue(&id);
    const absl::StatusOr<std::optional<CurrentRow>> record =
        view_.Find(RecordKey(index.collection, id));
    if (!record.ok()) return record.status();
    if (!record->has_value()) continue;
    const Found found{.id = id, .version = (*record)->version, .document = (*record)->payload};
    if (!pager.Took(place, visit(found))) break;
  }
  return std::move(pager.page());
}

absl::StatusOr<bool> Lookup::IsMember(const Relation& scope, std::string_view owner,
                                      std::string_view member) const {
  const absl::StatusOr<std::optional<RowView::Link>> link =
      view_.FindLink(scope, {.relation = scope.id, .owner = owner, .member = member});
  if (!link.ok()) return link.status();
  return link->has_value() && !(*link)->data.staged;
}

// Most of its branches pass an error on. NOLINTNEXTLINE(readability-function-cognitive-complexity)
absl::StatusOr<FoundPage> Lookup::Links(const Relation& relation, std::string_view end,
                                        bool of_owner, const LinkQuery& query,
                                        absl::FunctionRef<bool(const LinkRef&)> visit) const {
  if (relation.id == 0) return BadQuery("names a relation that was never opened");
  if (absl::Status status = CheckId(end); !status.ok()) return status;
  const std::string prefix = of_owner ? OwnerRowPrefix(kTrunk, relation.id, end)
                                      : MemberRowPrefix(kTrunk, relation.id, end);
  KeyCursor cursor(view_.buffers(), view_.transaction(), LinkSource(prefix), query.reverse);
  if (query.reverse && query.after.empty()) {
    cursor.SeekToEnd();
  } else {
    cursor.Seek(query.after);
  }
  Pager pager(query.limit);
  std::string key;
  for (; cursor.Valid(); cursor.Next()) {
    if (absl::Status status = ended_(); !status.ok()) return status;
    if (!query.after.empty() && cursor.suffix() == query.after) continue;
    key = prefix;
    key.append(cursor.suffix());
    const absl::StatusOr<std::optional<CurrentRow>> row = view_.Find(key);
    if (!row.ok()) return row.status();
    if (!row->has_value()) continue;
    const absl::StatusOr<LinkRow> link = DecodeLinkRowKey(key, relation.order);
    if (!link.ok()) return link.status();
    const absl::StatusOr<LinkData> data = DecodeLinkData((*row)->payload);
    if (!data.ok()) return data.status();
    if (data->staged != query.staged) continue;
    const absl::StatusOr<bool> live = view_.EndsLive(relation, link->ends, (*row)->version);
    if (!live.ok()) return live.status();
    if (!*live) continue;
    if (!pager.Admits()) break;
    const LinkRef found{.owner = link->ends.owner,
                        .member = link->ends.member,
                        .version = (*row)->version,
                        .data = *data};
    if (!pager.Took(cursor.suffix(), visit(found))) break;
  }
  if (!cursor.status().ok()) return cursor.status();
  return std::move(pager.page());
}

}  // namespace millrace::storage
