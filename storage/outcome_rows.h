#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/commit_token.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// The outcomes that L1 remembers: rows of tree `meta`, of the 65,536 newest tokens. What was pruned
// is told apart from what was never committed by the highest token that was ever removed.
inline constexpr uint64_t kRememberedCommitsMax = 65'536;

// Their keys in `meta`: one row per token, their number, and the key of the highest token removed.
bool IsOutcomeKey(std::string_view key);
// DataLoss if the key is no token's.
absl::StatusOr<CommitToken> ReadOutcomeKey(std::string_view key);
inline constexpr std::string_view kOutcomeCountKey = "outcomes";
inline constexpr std::string_view kPrunedKey = "pruned";

// Adds one, and removes the lowest tokens beyond the limit.
absl::Status RememberCommit(WriteTransaction& transaction, const RememberedCommit& commit);

// What L1 knows of a token: its version; or kNoVersion if there is no such commit in L1.
struct CommitLookup {
  Version version = kNoVersion;
  bool pruned = false;  // It may have been there and was removed.
};
absl::StatusOr<CommitLookup> FindCommit(const ReadTransaction& transaction, CommitToken token);

}  // namespace millrace::storage
