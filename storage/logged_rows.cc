#include "millrace/storage/logged_rows.h"

#include <algorithm>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/logged_batch.h"

namespace millrace::storage {
namespace {

// Whether the flush under way has brought the row up to its own version.
bool IsFlushed(std::string_view row_key, const L1State& l1) {
  return l1.flush.has_value() && row_key <= l1.flush->cursor;
}

Version FlushedVersion(std::string_view row_key, const L1State& l1) {
  return IsFlushed(row_key, l1) ? l1.flush->last_version : l1.head.last_version;
}

}  // namespace

absl::Status LoggedRows::Take(const LoggedBatch& batch, const L1State& l1) {
  if (first_version_ == kNoVersion) first_version_ = batch.version;
  std::vector<L0Row> rows;
  CommitToken token;
  absl::Status status = ReadLoggedBatch(batch.effects, batch.version, &rows, &token);
  if (!status.ok()) return status;
  const Version flushed = l1.flush.has_value() ? l1.flush->last_version : l1.head.last_version;
  if (batch.version > flushed) return absl::OkStatus();
  for (const L0Row& row : rows) {
    // A candidate is not a row of L1: a flush turns it into entries.
    if (static_cast<Tree>(row.key.front()) == Tree::kCandidates) continue;
    const Effect effect{.version = batch.version, .tombstone = row.tombstone};
    Row& known = rows_[std::string(row.key)];
    known.at_flush = effect;
    if (batch.version <= l1.head.last_version) known.at_head = effect;
  }
  return absl::OkStatus();
}

std::string LoggedRows::Check(std::string_view row_key, const Effect& found, const L1State& l1) {
  const Version limit = FlushedVersion(row_key, l1);
  if (found.version == kNoVersion || found.version > limit) {
    return absl::StrCat("it has version ", found.version, ", but only versions up to ", limit,
                        " were flushed");
  }
  const auto it = rows_.find(ToAbsl(row_key));
  if (it != rows_.end()) it->second.seen = true;
  const Effect wanted = it == rows_.end() ? Effect() : Wanted(row_key, it->second, l1);
  if (wanted.version == kNoVersion) {
    if (first_version_ == kNoVersion || found.version < first_version_) return "";
    return absl::StrCat("it has version ", found.version, ", but the log's batch ", found.version,
                        " does not write it");
  }
  if (wanted.version == found.version && wanted.tombstone == found.tombstone) return "";
  return absl::StrCat("it has version ", found.version, ", but the log's batch ", wanted.version,
                      wanted.tombstone ? " deleted it" : " wrote it");
}

void LoggedRows::Skip(std::string_view row_key) {
  const auto it = rows_.find(ToAbsl(row_key));
  if (it != rows_.end()) it->second.seen = true;
}

void LoggedRows::FindMissing(const L1State& l1, VerifyReport& report) const {
  std::vector<std::pair<std::string_view, Version>> missing;
  for (const auto& [key, row] : rows_) {
    const Effect& wanted = Wanted(key, row, l1);
    if (row.seen || wanted.version == kNoVersion || wanted.tombstone) continue;
    // A link ends with its ends, too.
    if (static_cast<Tree>(key.front()) == Tree::kRelations) continue;
    missing.emplace_back(key, wanted.version);
  }
  std::sort(missing.begin(), missing.end());
  for (const auto& [key, version] : missing) {
    report.AddDamage(absl::StrCat(NameOf(key), ": the log's batch ", version,
                                  " wrote it and was flushed, but it is not in store.mdb"));
  }
}

std::string LoggedRows::NameOf(std::string_view row_key) {
  const absl::StatusOr<RowKey> key = DecodeRowKey(row_key);
  if (!key.ok()) return absl::StrCat("the row ", absl::BytesToHexString(ToAbsl(row_key)));
  const std::string id = absl::Utf8SafeCHexEscape(ToAbsl(key->id));
  const std::string branch = key->branch == kTrunk ? "" : absl::StrCat(" in branch ", key->branch);
  if (key->tree == Tree::kCatalog) return absl::StrCat("the definition '", id, "'", branch);
  if (key->tree == Tree::kRelations) {
    return absl::StrCat("link '", id, "' of relation ", key->collection, branch);
  }
  return absl::StrCat("record '", id, "' of collection ", key->collection, branch);
}

const LoggedRows::Effect& LoggedRows::Wanted(std::string_view row_key, const Row& row,
                                             const L1State& l1) const {
  return IsFlushed(row_key, l1) ? row.at_flush : row.at_head;
}

}  // namespace millrace::storage
