#include "millrace/storage/derived_check.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/entry_judge.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/record.h"

namespace millrace::storage {
namespace {

std::string Quoted(std::string_view id) {
  return absl::StrCat("'", absl::Utf8SafeCHexEscape(ToAbsl(id)), "'");
}

std::string RecordKey(CollectionId collection, std::string_view id) {
  return EncodeRowKey({.collection = collection, .id = id});
}

}  // namespace

DerivedCheck::DerivedCheck(VerifyContext& context) : context_(context) {
  Select();
}

void DerivedCheck::Select() {
  if (!context_.l1_is_known || !context_.catalog_is_known || !context_.generations_are_known) {
    return;
  }
  links_are_checked_ = !context_.l1.flush.has_value() && !context_.relations.empty();
  if (links_are_checked_) {
    for (const auto& [id, relation] : context_.relations) {
      ends_of_links_.insert({relation.owners, relation.members});
    }
  }
  for (const auto& [id, definition] : context_.indexes) {
    const auto row = context_.generations.find(id);
    const GenerationState state =
        row == context_.generations.end() ? InitialGenerations(definition) : row->second;
    if (!state.Serves() || state.dropped || !IsSettled(definition)) continue;
    const auto index = indexes_.emplace(id, Index{.definition = &definition,
                                                  .field = IndexField(definition.field),
                                                  .live = state.live});
    by_collection_[definition.collection].push_back(&index.first->second);
  }
}

bool DerivedCheck::IsSettled(const IndexDefinition& index) const {
  if (!context_.l1.flush.has_value()) return !index.scoped() || links_are_checked_;
  const auto version = context_.index_versions.find(index.id);
  return !index.scoped() && version != context_.index_versions.end() &&
         version->second < context_.l1.flush->first_version;
}

void DerivedCheck::Run(Walk walk) {
  if (indexes_.empty() && !links_are_checked_) return;
  Pass(walk);
  if (entries_.balanced() && links_.balanced()) return;
  naming_ = true;
  entries_.BeginNaming();
  links_.BeginNaming();
  Pass(walk);
  entries_.ForEachDifference(
      [this](std::string_view key, bool missing) { NameEntry(key, missing); });
  links_.ForEachDifference([this](std::string_view key, bool missing) { NameLink(key, missing); });
}

void DerivedCheck::Pass(Walk walk) {
  walk(TreeId::kRecords, [this](std::string_view key, std::string_view value) {
    row_key_.assign(1, static_cast<char>(Tree::kRecords));
    row_key_.append(key);
    Record(key, value);
  });
  if (links_are_checked_) {
    walk(TreeId::kRelations, [this](std::string_view key, std::string_view value) {
      row_key_.assign(1, static_cast<char>(Tree::kRelations));
      row_key_.append(key);
      Link(key, value);
    });
  }
  if (!indexes_.empty()) {
    walk(TreeId::kIndex, [this](std::string_view key, std::string_view) { Entry(key); });
  }
}

// `row_key_` is the whole key.
void DerivedCheck::Record(std::string_view key, std::string_view value) {
  const absl::StatusOr<RowKey> decoded = DecodeRowKey(row_key_);
  if (!decoded.ok() || decoded->branch != kTrunk) return;
  if (ends_of_links_.count(decoded->collection) != 0) ends_.insert(row_key_);
  const auto indexes = by_collection_.find(decoded->collection);
  if (indexes == by_collection_.end()) return;
  const absl::StatusOr<RecordView> record = DecodeRecord(key, value);
  if (!record.ok() || !Document::FromBytes(record->payload).ok()) {
    unreadable_.insert(row_key_);
    return;
  }
  for (const Index* index : indexes->second) {
    if (!index->field.Extract(record->payload, &value_)) continue;
    if (!index->definition->scoped()) {
      Expect(*index, {}, value_.entry(), decoded->id);
    } else if (!naming_) {
      scoped_[row_key_].emplace_back(index, std::string(value_.entry()));
    }
  }
}

// As above.
void DerivedCheck::Link(std::string_view key, std::string_view value) {
  RelationId id = 0;
  bool of_owner = false;
  if (!PeekLinkRow(row_key_, &id, &of_owner)) return;
  const auto relation = context_.relations.find(id);
  if (relation == context_.relations.end()) return;
  const absl::StatusOr<LinkRow> link = DecodeLinkRowKey(row_key_, relation->second.order);
  if (!link.ok() || link->ends.branch != kTrunk) return;
  const absl::StatusOr<RecordView> row = DecodeRecord(key, value);
  const absl::StatusOr<LinkData> data =
      row.ok() ? DecodeLinkData(row->payload) : absl::StatusOr<LinkData>(row.status());
  if (!data.ok()) {
    link_is_unreadable_ = true;  // It was told; what hangs on it cannot be.
    return;
  }
  // Relation, version, and what the row by the owner is called: it says all that both must say.
  std::string name;
  AppendOrderedInteger(id, &name);
  AppendOrderedInteger(row->version, &name);
  name.append(row->payload);
  name.append(OwnerRowKey(link->ends, relation->second.order, *data));
  if (of_owner) {
    links_.Found(name);
    CheckEnd(relation->second, *link, /*of_owner=*/true);
    return;
  }
  links_.Expect(name);
  CheckEnd(relation->second, *link, /*of_owner=*/false);
  const auto values = scoped_.find(RecordKey(relation->second.members, link->ends.member));
  if (values == scoped_.end() || data->staged) return;
  for (const auto& [index, entry] : values->second) {
    if (index->definition->scope == id) Expect(*index, link->ends.owner, entry, link->ends.member);
  }
}

// A link ends with either end, in the same flush.
void DerivedCheck::CheckEnd(const Relation& relation, const LinkRow& link, bool of_owner) {
  const std::string_view id = of_owner ? link.ends.owner : link.ends.member;
  const CollectionId collection = of_owner ? relation.owners : relation.members;
  if (naming_ || ends_.contains(RecordKey(collection, id))) return;
  context_.Damage(absl::StrCat("relation '", relation.name, "': ", Quoted(link.ends.owner),
                               " is linked with ", Quoted(link.ends.member), ", but there is no ",
                               of_owner ? "record of the owner" : "record of the member"));
}

void DerivedCheck::Entry(std::string_view key) {
  const absl::StatusOr<IndexEntry> entry = DecodeIndexEntry(key);
  if (!entry.ok() || entry->branch != kTrunk) return;
  const auto index = indexes_.find(entry->index);
  if (index == indexes_.end() || index->second.live != entry->generation) return;
  entries_.Found(key);
  if (naming_ && index->second.definition->unique()) NoteOwner(key, *entry);
}

// Behind all records: an entry that one of them bears out, of a value that another has, too.
void DerivedCheck::NoteOwner(std::string_view key, const IndexEntry& entry) {
  const std::string_view group = key.substr(0, key.size() - entry.id.size());
  if (entries_.HasDifference(group) && !entries_.IsDifference(key)) owned_.emplace(group);
}

// A build of a unique index may have been told to leave out all but one of those that share a
// value. Where an entry holds a part of the value only, they need not share it.
bool DerivedCheck::IsLeftOut(std::string_view key, const IndexEntry& entry,
                             const IndexDefinition& index) const {
  std::string_view rest = entry.value;
  IndexValue value;
  bool cut = false;
  return index.unique() && ConsumeIndexValue(&rest, &value, &cut) && !cut &&
         owned_.count(key.substr(0, key.size() - entry.id.size())) != 0;
}

void DerivedCheck::Expect(const Index& index, std::string_view owner, std::string_view value,
                          std::string_view id) {
  entry_.clear();
  AppendIndexEntry({.branch = kTrunk,
                    .index = index.definition->id,
                    .generation = index.live,
                    .owner = owner,
                    .value = value,
                    .id = id},
                   &entry_);
  entries_.Expect(entry_);
}

void DerivedCheck::NameEntry(std::string_view key, bool missing) {
  const absl::StatusOr<IndexEntry> entry = DecodeIndexEntry(key);
  if (!entry.ok()) return;
  const IndexDefinition& index = *indexes_.at(entry->index).definition;
  // What a damaged row would have held, nobody knows.
  if (unreadable_.count(RecordKey(index.collection, entry->id)) != 0) return;
  if (index.scoped() && link_is_unreadable_) return;
  if (missing && IsLeftOut(key, *entry, index)) {
    context_.report().notes.push_back(
        absl::StrCat("index '", index.name, "' of collection ", index.collection, ": record ",
                     Quoted(entry->id), " has the unique value ", EntryValueText(entry->value),
                     ", which the index gives to another record that has it, too"));
    return;
  }
  const std::string owner =
      index.scoped() ? absl::StrCat(" under owner ", Quoted(entry->owner)) : "";
  context_.Damage(absl::StrCat(
      "index '", index.name, "' of collection ", index.collection, ", generation ",
      entry->generation, ": ", missing ? "record " : "there is an entry for record ",
      Quoted(entry->id), missing ? " has the value " : " with the value ",
      EntryValueText(entry->value), owner,
      missing ? " and no entry, so lookups do not find it" : ", which the record has not",
      "; rebuild the index"));
}

void DerivedCheck::NameLink(std::string_view key, bool missing) {
  uint64_t id = 0;
  uint64_t version = 0;
  if (link_is_unreadable_ || !ConsumeOrderedInteger(&key, &id) ||
      !ConsumeOrderedInteger(&key, &version)) {
    return;
  }
  const Relation& relation = context_.relations.at(id);
  key.remove_prefix(EncodeLinkData({}).size());
  const absl::StatusOr<LinkRow> link = DecodeLinkRowKey(key, relation.order);
  if (!link.ok()) return;
  context_.Damage(absl::StrCat(
      "relation '", relation.name, "': the link of ", Quoted(link->ends.owner), " with ",
      Quoted(link->ends.member), ", version ", version, ", has no row of the ",
      missing ? "owner" : "member", " that says the same; link them again"));
}

}  // namespace millrace::storage
