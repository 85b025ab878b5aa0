#include "millrace/storage/logged_batch.h"

#include "absl/strings/str_cat.h"

#include "millrace/storage/write_batch.h"

namespace millrace::storage {

// The token is two ordered integers; a batch without one begins with a zero.
void AppendBatchToken(CommitToken token, std::string* out) {
  AppendOrderedInteger(token.epoch, out);
  if (token.epoch != 0) AppendOrderedInteger(token.number, out);
}

absl::Status ReadLoggedBatch(std::string_view batch, Version version, std::vector<L0Row>* rows,
                             CommitToken* token) {
  std::string_view rest = batch;
  *token = {};
  bool good = ConsumeOrderedInteger(&rest, &token->epoch) &&
              (token->epoch == 0 || ConsumeOrderedInteger(&rest, &token->number));
  Operation operation;
  while (good && ConsumeOperation(&rest, &operation)) {
    good = !operation.key.empty() &&
           (operation.kind == OperationKind::kPut || operation.kind == OperationKind::kDelete);
    rows->push_back({.key = operation.key,
                     .version = version,
                     .tombstone = operation.kind == OperationKind::kDelete,
                     .value = operation.value});
  }
  if (good && rest.empty()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("the log's batch ", version, " is not a batch as it was written"));
}

}  // namespace millrace::storage
