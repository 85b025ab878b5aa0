#pragma once

#include <compare>
#include <cstdint>

#include "millrace/storage/row_key.h"

namespace millrace::storage {

// Names one commit for good, so that its outcome can be asked for when its answer was lost, also
// after a restart. Value; printed as "epoch-number".
struct CommitToken {
  uint64_t epoch = 0;   // The life of the log that issued it; 0 is no token.
  uint64_t number = 0;  // Ascending within the epoch.
  friend auto operator<=>(const CommitToken&, const CommitToken&) = default;
};

// A commit that was to be remembered, and the version it got. Value.
struct RememberedCommit {
  CommitToken token;
  Version version = kNoVersion;
};

}  // namespace millrace::storage
