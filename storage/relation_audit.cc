// The links of a relation, and indexes that are scoped by it.

#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/entry_audit.h"
#include "millrace/storage/record.h"

namespace millrace::storage {
namespace {

std::string NameOf(const LinkEnds& ends) {
  return absl::StrCat("the link of '", absl::Utf8SafeCHexEscape(ToAbsl(ends.owner)), "' with '",
                      absl::Utf8SafeCHexEscape(ToAbsl(ends.member)), "'");
}

// One of the two rows of a link. Views into the transaction and the audit.
struct Row {
  LinkEnds ends;
  bool of_owner = false;
  std::string_view key;  // As the tree has it.
  RecordView record;
  LinkData data;
};

// Rows by the owner are in the order of the owners, those by the member in the order of the
// members: beside each goes a cursor over the records there.
class RelationAudit {
 public:
  RelationAudit(const AuditScope& scope, const FlushWindow& window, const Relation& relation,
                std::vector<AuditedIndex> indexes, AuditPart* links)
      : scope_(scope),
        window_(window),
        relation_(relation),
        links_(links),
        entries_(scope, window, &relation, std::move(indexes)),
        values_(entries_.indexes().size()),
        has_value_(entries_.indexes().size()) {}

  absl::Status Run() {
    absl::Status status = Pass();
    if (!status.ok()) return status;
    const bool entries_differ = entries_.BeginSecondPass();
    if (!entries_differ && ledger_.balanced()) return absl::OkStatus();
    second_pass_ = true;
    return Pass();
  }

 private:
  absl::Status Pass() {
    absl::Status status = WalkRows(AllOwnerRowsPrefix(kTrunk, relation_.id));
    if (status.ok()) status = WalkRows(AllMemberRowsPrefix(kTrunk, relation_.id));
    if (status.ok()) status = entries_.WalkEntries();
    return status;
  }

  absl::Status WalkRows(const std::string& row_prefix) {
    const std::string_view prefix = KeyInTree(row_prefix);
    Cursor records = scope_.view.transaction().NewCursor(TreeId::kRecords);
    Cursor row = scope_.view.transaction().NewCursor(TreeId::kRelations);
    end_.clear();
    for (row.Seek(prefix); row.Valid() && row.key().starts_with(prefix); row.Next()) {
      absl::Status status = Take(row.key(), row.value(), records);
      if (status.ok()) status = scope_.ended();
      if (!status.ok()) return status;
    }
    if (!records.status().ok()) return records.status();
    return row.status();
  }

  absl::Status Take(std::string_view key, std::string_view value, Cursor& records) {
    row_key_.assign(1, static_cast<char>(Tree::kRelations));
    row_key_.append(key);
    if (!second_pass_ && links_ != nullptr) ++links_->examined;
    const absl::StatusOr<LinkRow> decoded = DecodeLinkRowKey(row_key_, relation_.order);
    if (!decoded.ok()) return TellUnreadable(nullptr, decoded.status());
    Row row{.ends = decoded->ends, .of_owner = decoded->of_owner, .key = key};
    const absl::StatusOr<RecordView> record = DecodeRecord(key, value);
    if (!record.ok()) return TellUnreadable(&row, record.status());
    row.record = *record;
    const absl::StatusOr<LinkData> data = DecodeLinkData(record->payload);
    if (!data.ok()) return TellUnreadable(&row, data.status());
    row.data = *data;
    absl::Status status = CheckEnd(row, records);
    if (status.ok()) status = Compare(row);
    if (status.ok() && !row.of_owner && !row.data.staged) status = ExpectEntries(row);
    return status;
  }

  // Relation, version, and what the row by the owner is called: all that both rows must say.
  absl::Status Compare(const Row& row) {
    if (links_ == nullptr) return absl::OkStatus();
    const std::string owner_row = OwnerRowKey(row.ends, relation_.order, row.data);
    name_.clear();
    AppendOrderedInteger(row.record.version, &name_);
    name_.append(row.record.payload);
    name_.append(owner_row);
    if (second_pass_) {
      return ledger_.IsSuspect(name_) ? CheckTwin(row, owner_row) : absl::OkStatus();
    }
    row.of_owner ? ledger_.Found(name_) : ledger_.Expect(name_);
    return absl::OkStatus();
  }

  // What the two rows say differently is told of the member's.
  absl::Status CheckTwin(const Row& row, const std::string& owner_row) {
    const std::string twin_row = row.of_owner ? MemberRowKey(row.ends) : owner_row;
    const std::string_view key = KeyInTree(twin_row);
    const auto found = scope_.view.transaction().Get(TreeId::kRelations, key);
    if (!found.ok()) return found.status();
    if (!found->has_value()) {
      return TellLink(AuditFault::kOneSided, row, [&] {
        return absl::StrCat(NameOf(row.ends), " has no row by the ",
                            row.of_owner ? "member" : "owner");
      });
    }
    const absl::StatusOr<RecordView> twin = DecodeRecord(key, **found);
    const absl::StatusOr<LinkData> data =
        twin.ok() ? DecodeLinkData(twin->payload) : absl::StatusOr<LinkData>(twin.status());
    if (!data.ok()) return absl::OkStatus();  // That was told.
    const bool same =
        row.of_owner ? KeyInTree(OwnerRowKey(row.ends, relation_.order, *data)) == row.key
                     : twin->version == row.record.version && twin->payload == row.record.payload;
    if (same) return absl::OkStatus();
    return TellLink(AuditFault::kOneSided, row, [&] {
      return absl::StrCat(NameOf(row.ends), " has rows by its owner and its member that differ");
    });
  }

  absl::Status CheckEnd(const Row& row, Cursor& records) {
    const std::string_view id = row.of_owner ? row.ends.owner : row.ends.member;
    if (id != end_) {
      end_.assign(id);
      LoadEnd(row.of_owner ? relation_.owners : relation_.members, !row.of_owner, records);
    }
    if (end_exists_ || second_pass_ || links_ == nullptr) return absl::OkStatus();
    return TellLink(AuditFault::kEndMissing, row, [&] {
      return absl::StrCat(NameOf(row.ends), " stands, and there is no record of the ",
                          row.of_owner ? "owner" : "member");
    });
  }

  // Whether the record is there; and, of a member, its values.
  void LoadEnd(CollectionId collection, bool of_member, Cursor& records) {
    const std::string row_key = EncodeRowKey({.collection = collection, .id = end_});
    end_exists_ = records.SeekExact(KeyInTree(row_key));
    has_value_.assign(has_value_.size(), false);
    if (!end_exists_ || !of_member || has_value_.empty()) return;
    const absl::StatusOr<RecordView> record = DecodeRecord(KeyInTree(row_key), records.value());
    if (!record.ok()) return;
    for (size_t i = 0; i < values_.size(); ++i) {
      has_value_[i] = entries_.indexes()[i].index.field.Extract(record->payload, &values_[i]);
    }
  }

  absl::Status ExpectEntries(const Row& row) {
    for (size_t i = 0; i < values_.size(); ++i) {
      if (!has_value_[i]) continue;
      absl::Status status =
          entries_.Expect(entries_.indexes()[i], row.ends.owner, values_[i], row.ends.member);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // `row` is null if its key cannot be read, either.
  absl::Status TellUnreadable(const Row* row, const absl::Status& cause) {
    if (second_pass_ || links_ == nullptr) return absl::OkStatus();
    AuditFinding finding{.fault = AuditFault::kUnreadable};
    if (row != nullptr) {
      finding.relation = &relation_;
      finding.ends = row->ends;
      if (row->of_owner) finding.owner_row = row->key;
    }
    return TellFault(
        scope_, finding, [&] { return std::string(cause.message()); }, links_);
  }

  absl::Status TellLink(AuditFault fault, const Row& row,
                        absl::FunctionRef<std::string()> sentence) {
    if (window_.Touches(relation_, row.ends)) {
      ++links_->under_way;
      return absl::OkStatus();
    }
    return TellFault(scope_,
                     {.fault = fault,
                      .relation = &relation_,
                      .ends = row.ends,
                      .owner_row = row.of_owner ? row.key : std::string_view()},
                     sentence, links_);
  }

  const AuditScope& scope_;
  const FlushWindow& window_;
  const Relation& relation_;
  AuditPart* const links_;
  EntryAudit entries_;
  KeyLedger ledger_;
  bool second_pass_ = false;
  std::string row_key_;
  std::string name_;
  // The record at the end of the rows that are walked, and what the indexes hold of it.
  std::string end_;
  bool end_exists_ = false;
  std::vector<IndexKey> values_;
  std::vector<bool> has_value_;
};

}  // namespace

absl::Status AuditRelation(const AuditScope& scope, const Relation& relation,
                           std::vector<AuditedIndex> indexes, AuditPart* links) {
  const absl::StatusOr<FlushWindow> window = FlushWindow::Of(scope.view);
  if (!window.ok()) return window.status();
  return RelationAudit(scope, *window, relation, std::move(indexes), links).Run();
}

}  // namespace millrace::storage
