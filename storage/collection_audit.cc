// The records of a collection, their count, and indexes that are not scoped.

#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/entry_audit.h"
#include "millrace/storage/record.h"

namespace millrace::storage {
namespace {

class CollectionAudit {
 public:
  CollectionAudit(const AuditScope& scope, const FlushWindow& window, const Collection& collection,
                  std::vector<AuditedIndex> indexes, AuditPart* records)
      : scope_(scope),
        window_(window),
        collection_(collection),
        records_(records),
        entries_(scope, window, /*relation=*/nullptr, std::move(indexes)) {}

  absl::Status Run() {
    absl::Status status = WalkRecords();
    if (status.ok()) status = entries_.WalkEntries();
    if (status.ok() && records_ != nullptr) status = CheckCount();
    if (!status.ok() || !entries_.BeginSecondPass()) return status;
    second_pass_ = true;
    status = WalkRecords();
    if (status.ok()) status = entries_.WalkEntries();
    return status;
  }

 private:
  absl::Status WalkRecords() {
    if (records_ == nullptr && entries_.indexes().empty()) return absl::OkStatus();
    const std::string row_prefix = EncodeCollectionPrefix(Tree::kRecords, kTrunk, collection_.id);
    const std::string_view prefix = KeyInTree(row_prefix);
    Cursor row = scope_.view.transaction().NewCursor(TreeId::kRecords);
    for (row.Seek(prefix); row.Valid() && row.key().starts_with(prefix); row.Next()) {
      absl::Status status = Take(row.key(), row.value(), row.key().substr(prefix.size()));
      if (status.ok()) status = scope_.ended();
      if (!status.ok()) return status;
    }
    return row.status();
  }

  absl::Status Take(std::string_view key, std::string_view value, std::string_view id) {
    if (!second_pass_) ++count_;
    const absl::StatusOr<RecordView> record = DecodeRecord(key, value);
    if (!record.ok()) {
      if (second_pass_ || records_ == nullptr) return absl::OkStatus();
      return TellFault(
          scope_, {.fault = AuditFault::kUnreadable},
          [&] { return std::string(record.status().message()); }, records_);
    }
    for (const AuditedIndex& audited : entries_.indexes()) {
      if (!audited.index.field.Extract(record->payload, &value_)) continue;
      if (absl::Status s = entries_.Expect(audited, {}, value_, id); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  // In one transaction rows and counts agree, whatever is under way.
  absl::Status CheckCount() {
    records_->examined = count_;
    const int64_t claimed = window_.l1().RecordCount(kTrunk, collection_.id);
    records_->count_surplus = claimed - static_cast<int64_t>(count_);
    if (records_->count_surplus == 0) return absl::OkStatus();
    records_->faults[static_cast<size_t>(AuditFault::kCount)] +=
        static_cast<uint64_t>(std::abs(records_->count_surplus)) - 1;
    return TellFault(
        scope_,
        {.fault = AuditFault::kCount,
         .collection = collection_.id,
         .count_surplus = records_->count_surplus,
         .count_repairs = window_.l1().head.count_repairs},
        [&] {
          return absl::StrCat("there are ", count_, " records, and the store counts ", claimed);
        },
        records_);
  }

  const AuditScope& scope_;
  const FlushWindow& window_;
  const Collection& collection_;
  AuditPart* const records_;
  EntryAudit entries_;
  uint64_t count_ = 0;
  bool second_pass_ = false;
  IndexKey value_;
};

}  // namespace

absl::Status AuditCollection(const AuditScope& scope, const Collection& collection,
                             std::vector<AuditedIndex> indexes, AuditPart* records) {
  const absl::StatusOr<FlushWindow> window = FlushWindow::Of(scope.view);
  if (!window.ok()) return window.status();
  return CollectionAudit(scope, *window, collection, std::move(indexes), records).Run();
}

}  // namespace millrace::storage
