#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "millrace/storage/commit_token.h"
#include "millrace/storage/l0_buffer.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// What the log holds of one batch: its token, if its outcome is to be remembered, then its effects
// (see WriteBatch). All of this file is thread-safe.

// Appends what stands before the effects.
void AppendBatchToken(CommitToken token, std::string* out);

// Appends the rows of one logged batch to `rows`; they view into `batch`. Sets `token`. DataLoss if
// the bytes are no such batch.
absl::Status ReadLoggedBatch(std::string_view batch, Version version, std::vector<L0Row>* rows,
                             CommitToken* token);

}  // namespace millrace::storage
