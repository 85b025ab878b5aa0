#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

#include "millrace/storage/audit.h"
#include "millrace/storage/entry_judge.h"
#include "millrace/storage/flush_window.h"
#include "millrace/storage/key_ledger.h"

namespace millrace::storage {

// Counts a fault, keeps a sample of it and tells it.
absl::Status TellFault(const AuditScope& scope, const AuditFinding& finding,
                       absl::FunctionRef<std::string()> sentence, AuditPart* part);

// The part of an audit that compares the entries of some indexes with what they should be: whoever
// walks the records says what that is, once, and once more if there is a difference. Owned by one
// thread.
class EntryAudit {
 public:
  // `relation`: that scopes the indexes, or null. All outlive it.
  EntryAudit(const AuditScope& scope, const FlushWindow& window, const Relation* relation,
             std::vector<AuditedIndex> indexes);

  const std::vector<AuditedIndex>& indexes() const { return indexes_; }
  // A record has the value in the index (under the owner), so there should be an entry. In the
  // second pass: is there?
  absl::Status Expect(const AuditedIndex& audited, std::string_view owner, const IndexKey& value,
                      std::string_view id);
  // Behind all records: the entries there are.
  absl::Status WalkEntries();
  // Whether there is a difference, and the second pass to be made.
  bool BeginSecondPass();

 private:
  absl::Status Take(const AuditedIndex& audited, std::string_view key);
  absl::Status NoteUnique(const AuditedIndex& audited, std::string_view key);
  absl::Status JudgeUnique(const AuditedIndex& audited, std::string_view key);
  absl::Status TellWrong(const AuditedIndex& audited, std::string_view key);
  absl::Status TellMissing(const AuditedIndex& audited, const IndexEntry& entry,
                           const IndexKey& value);
  absl::Status Tell(const AuditedIndex& audited, AuditFault fault, std::string_view key,
                    std::string_view other);
  bool IsUnderWay(const AuditedIndex& audited, const IndexEntry& entry) const;

  const AuditScope& scope_;
  const FlushWindow& window_;
  const Relation* const relation_;
  const std::vector<AuditedIndex> indexes_;
  KeyLedger ledger_;
  bool second_pass_ = false;
  std::string entry_;
  // The entries of one owner and value of a unique index: what they begin with, the first of them,
  // and who was found to have which whole value.
  std::string group_;
  std::string group_first_;
  bool group_judged_ = false;
  absl::flat_hash_map<std::string, std::string> values_;
};

}  // namespace millrace::storage
