#include "millrace/storage/outcome_rows.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/meta.h"

namespace millrace::storage {
namespace {

constexpr std::string_view kPrefix = "outcome/";

std::string TokenKey(CommitToken token) {
  std::string key(kPrefix);
  AppendOrderedInteger(token.epoch, &key);
  AppendOrderedInteger(token.number, &key);
  return key;
}

template <typename Transaction>
absl::StatusOr<uint64_t> ReadCount(const Transaction& transaction) {
  const absl::StatusOr<std::optional<std::string_view>> row =
      transaction.Get(TreeId::kMeta, kOutcomeCountKey);
  if (!row.ok()) return row.status();
  return row->has_value() ? DecodeNumber(kOutcomeCountKey, **row) : 0;
}

// Removes the lowest token. Token keys order as tokens do.
absl::Status PruneOne(WriteTransaction& transaction) {
  std::string key;
  {
    Cursor cursor = transaction.NewCursor(TreeId::kMeta);
    cursor.Seek(kPrefix);
    if (!cursor.status().ok()) return cursor.status();
    if (!cursor.Valid() || !cursor.key().starts_with(kPrefix)) return absl::OkStatus();
    key.assign(cursor.key());
  }
  if (absl::Status status = transaction.Put(TreeId::kMeta, kPrunedKey, SealBytes(kPrunedKey, key));
      !status.ok()) {
    return status;
  }
  return transaction.Delete(TreeId::kMeta, key).status();
}

}  // namespace

bool IsOutcomeKey(std::string_view key) {
  return key.starts_with(kPrefix);
}

absl::StatusOr<CommitToken> ReadOutcomeKey(std::string_view key) {
  CommitToken token;
  std::string_view rest = key.substr(std::min(key.size(), kPrefix.size()));
  if (IsOutcomeKey(key) && ConsumeOrderedInteger(&rest, &token.epoch) &&
      ConsumeOrderedInteger(&rest, &token.number) && rest.empty() && token.epoch != 0) {
    return token;
  }
  return absl::DataLossError(
      absl::StrCat("the row '", absl::Utf8SafeCHexEscape(ToAbsl(key)), "' names no token"));
}

absl::Status RememberCommit(WriteTransaction& transaction, const RememberedCommit& commit) {
  const std::string key = TokenKey(commit.token);
  const auto existing = transaction.Get(TreeId::kMeta, key);
  if (!existing.ok()) return existing.status();
  if (existing->has_value()) return absl::OkStatus();
  absl::StatusOr<uint64_t> count = ReadCount(transaction);
  if (!count.ok()) return count.status();
  absl::Status status = transaction.Put(TreeId::kMeta, key, EncodeNumber(key, commit.version));
  if (!status.ok()) return status;
  if (*count >= kRememberedCommitsMax) return PruneOne(transaction);
  return transaction.Put(TreeId::kMeta, kOutcomeCountKey,
                         EncodeNumber(kOutcomeCountKey, *count + 1));
}

absl::StatusOr<CommitLookup> FindCommit(const ReadTransaction& transaction, CommitToken token) {
  const std::string key = TokenKey(token);
  const absl::StatusOr<std::optional<std::string_view>> row = transaction.Get(TreeId::kMeta, key);
  if (!row.ok()) return row.status();
  if (row->has_value()) {
    const absl::StatusOr<Version> version = DecodeNumber(key, **row);
    if (!version.ok()) return version.status();
    return CommitLookup{.version = *version};
  }
  const absl::StatusOr<std::optional<std::string_view>> pruned =
      transaction.Get(TreeId::kMeta, kPrunedKey);
  if (!pruned.ok()) return pruned.status();
  if (!pruned->has_value()) return CommitLookup();
  const absl::StatusOr<std::string_view> highest = UnsealBytes(kPrunedKey, **pruned);
  if (!highest.ok()) return highest.status();
  return CommitLookup{.pruned = key <= *highest};
}

}  // namespace millrace::storage
