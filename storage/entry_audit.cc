#include "millrace/storage/entry_audit.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace millrace::storage {
namespace {

std::string Quoted(std::string_view id) {
  return absl::StrCat("'", absl::Utf8SafeCHexEscape(ToAbsl(id)), "'");
}

std::string Sentence(const MarkedIndex& index, AuditFault fault, std::string_view key,
                     std::string_view other) {
  const absl::StatusOr<IndexEntry> entry = DecodeIndexEntry(key);
  if (!entry.ok()) return absl::StrCat("no entry: ", absl::BytesToHexString(ToAbsl(key)));
  std::string what =
      absl::StrCat("record ", Quoted(entry->id), ", value ", EntryValueText(entry->value));
  if (index.definition.scoped()) absl::StrAppend(&what, ", owner ", Quoted(entry->owner));
  switch (fault) {
    case AuditFault::kObjectMissing:
      return absl::StrCat(what, ": there is an entry, and no such record");
    case AuditFault::kValueMismatch:
      return absl::StrCat(what, ": there is an entry, and the record does not have the value");
    case AuditFault::kForeignOwner:
      return absl::StrCat(what, ": there is an entry, and the record is no member of the owner");
    case AuditFault::kWrongOwner:
      return absl::StrCat(what, ": the value leads to another record, which does not have it");
    case AuditFault::kDuplicate:
      return absl::StrCat(what, ": record ", Quoted(other), " has it, too");
    default:
      return absl::StrCat(what, ": there is no entry, so lookups do not find the record");
  }
}

}  // namespace

absl::Status TellFault(const AuditScope& scope, const AuditFinding& finding,
                       absl::FunctionRef<std::string()> sentence, AuditPart* part) {
  ++part->faults[static_cast<size_t>(finding.fault)];
  if (part->samples.size() < scope.samples_max) part->samples.push_back(sentence());
  return scope.tell(finding);
}

EntryAudit::EntryAudit(const AuditScope& scope, const FlushWindow& window, const Relation* relation,
                       std::vector<AuditedIndex> indexes)
    : scope_(scope), window_(window), relation_(relation), indexes_(std::move(indexes)) {
}

absl::Status EntryAudit::Expect(const AuditedIndex& audited, std::string_view owner,
                                const IndexKey& value, std::string_view id) {
  const IndexEntry entry{.index = audited.index.definition.id,
                         .generation = audited.index.generations.live,
                         .owner = owner,
                         .value = value.entry(),
                         .id = id};
  entry_.clear();
  AppendIndexEntry(entry, &entry_);
  if (!second_pass_) {
    ledger_.Expect(entry_);
    return absl::OkStatus();
  }
  if (!ledger_.IsSuspect(entry_)) return absl::OkStatus();
  const auto row = scope_.view.transaction().Get(TreeId::kIndex, entry_);
  if (!row.ok()) return row.status();
  return row->has_value() ? absl::OkStatus() : TellMissing(audited, entry, value);
}

bool EntryAudit::BeginSecondPass() {
  second_pass_ = true;
  return !ledger_.balanced();
}

absl::Status EntryAudit::WalkEntries() {
  for (const AuditedIndex& audited : indexes_) {
    const std::string prefix =
        IndexGenerationPrefix(kTrunk, audited.index.definition.id, audited.index.generations.live);
    group_.clear();
    Cursor row = scope_.view.transaction().NewCursor(TreeId::kIndex);
    for (row.Seek(prefix); row.Valid() && row.key().starts_with(prefix); row.Next()) {
      absl::Status status = Take(audited, row.key());
      if (status.ok()) status = scope_.ended();
      if (!status.ok()) return status;
    }
    if (!row.status().ok()) return row.status();
  }
  return absl::OkStatus();
}

absl::Status EntryAudit::Take(const AuditedIndex& audited, std::string_view key) {
  if (second_pass_) return ledger_.IsSuspect(key) ? TellWrong(audited, key) : absl::OkStatus();
  ledger_.Found(key);
  ++audited.part->examined;
  return audited.index.definition.unique() ? NoteUnique(audited, key) : absl::OkStatus();
}

// An entry alone with its value, as almost all are, needs no look at its record.
absl::Status EntryAudit::NoteUnique(const AuditedIndex& audited, std::string_view key) {
  if (group_.empty() || !key.starts_with(group_)) {
    const absl::StatusOr<IndexEntry> entry = DecodeIndexEntry(key);
    if (!entry.ok()) return absl::OkStatus();  // The second pass tells.
    group_.assign(key.substr(0, key.size() - entry->id.size()));
    group_first_.assign(key);
    group_judged_ = false;
    values_.clear();
    return absl::OkStatus();
  }
  if (!group_judged_) {
    group_judged_ = true;
    if (absl::Status status = JudgeUnique(audited, group_first_); !status.ok()) return status;
  }
  return JudgeUnique(audited, key);
}

// The first of a group that really has the value is its owner. While values move from one record to
// another, a flush brings the one before the other.
absl::Status EntryAudit::JudgeUnique(const AuditedIndex& audited, std::string_view key) {
  const absl::StatusOr<IndexEntry> entry = DecodeIndexEntry(key);
  if (!entry.ok()) return absl::OkStatus();
  IndexKey value;
  const absl::StatusOr<EntryVerdict> verdict =
      JudgeEntry(scope_.view.transaction(), audited.index, *entry, &value);
  if (!verdict.ok()) return verdict.status();
  if (*verdict != EntryVerdict::kGood) return absl::OkStatus();
  if (IsUnderWay(audited, *entry)) {
    if (!values_.empty()) ++audited.part->under_way;
    return absl::OkStatus();
  }
  const auto [holder, first] = values_.try_emplace(value.full, entry->id);
  return first ? absl::OkStatus() : Tell(audited, AuditFault::kDuplicate, key, holder->second);
}

absl::Status EntryAudit::TellWrong(const AuditedIndex& audited, std::string_view key) {
  const absl::StatusOr<IndexEntry> entry = DecodeIndexEntry(key);
  if (!entry.ok()) return Tell(audited, AuditFault::kUnreadable, key, "");
  IndexKey value;
  const absl::StatusOr<EntryVerdict> verdict =
      JudgeEntry(scope_.view.transaction(), audited.index, *entry, &value);
  if (!verdict.ok()) return verdict.status();
  if (*verdict == EntryVerdict::kGood || *verdict == EntryVerdict::kUnreadable) {
    return absl::OkStatus();
  }
  if (relation_ != nullptr && IsUnderWay(audited, *entry)) {
    ++audited.part->under_way;
    return absl::OkStatus();
  }
  AuditFault fault = AuditFault::kObjectMissing;
  if (*verdict == EntryVerdict::kOtherValue) fault = AuditFault::kValueMismatch;
  if (*verdict == EntryVerdict::kNoMember) fault = AuditFault::kForeignOwner;
  return Tell(audited, fault, key, "");
}

// Of a duplicate that a build was told to leave out there is none, either.
absl::Status EntryAudit::TellMissing(const AuditedIndex& audited, const IndexEntry& entry,
                                     const IndexKey& value) {
  if (relation_ != nullptr && IsUnderWay(audited, entry)) {
    ++audited.part->under_way;
    return absl::OkStatus();
  }
  if (!audited.index.definition.unique()) return Tell(audited, AuditFault::kMissing, entry_, "");
  const absl::StatusOr<OtherOwners> others =
      FindOtherOwners(scope_.view.transaction(), audited.index, entry, value);
  if (!others.ok()) return others.status();
  if (!others->holder.empty()) {
    return Tell(audited, AuditFault::kDuplicate, entry_, others->holder);
  }
  return Tell(audited, others->found ? AuditFault::kWrongOwner : AuditFault::kMissing, entry_, "");
}

absl::Status EntryAudit::Tell(const AuditedIndex& audited, AuditFault fault, std::string_view key,
                              std::string_view other) {
  return TellFault(
      scope_, {.fault = fault, .index = &audited.index, .entry = key},
      [&] { return Sentence(audited.index, fault, key, other); }, audited.part);
}

bool EntryAudit::IsUnderWay(const AuditedIndex& audited, const IndexEntry& entry) const {
  if (relation_ == nullptr) {
    return window_.Touches(
        EncodeRowKey({.collection = audited.index.definition.collection, .id = entry.id}));
  }
  return window_.Touches(*relation_,
                         {.relation = relation_->id, .owner = entry.owner, .member = entry.id});
}

}  // namespace millrace::storage
