#include "millrace/storage/outcome_rows.h"

#include <string>
#include <string_view>

#include "millrace/storage/meta.h"

namespace millrace::storage {
namespace {

constexpr std::string_view kPrefix = "outcome/";
constexpr std::string_view kCountKey = "outcomes";
constexpr std::string_view kPrunedKey = "pruned";  // The key of the highest token removed.

std::string TokenKey(CommitToken token) {
  std::string key(kPrefix);
  AppendOrderedInteger(token.epoch, &key);
  AppendOrderedInteger(token.number, &key);
  return key;
}

template <typename Transaction>
absl::StatusOr<uint64_t> ReadCount(const Transaction& transaction) {
  const absl::StatusOr<std::optional<std::string_view>> row =
      transaction.Get(TreeId::kMeta, kCountKey);
  if (!row.ok()) return row.status();
  return row->has_value() ? DecodeNumber(kCountKey, **row) : 0;
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
  return transaction.Put(TreeId::kMeta, kCountKey, EncodeNumber(kCountKey, *count + 1));
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
