#include "millrace/actors/shared_transaction.h"

#include "absl/strings/str_cat.h"

namespace millrace {

bool SharedTransaction::Admits(const void* sender) const {
  return suspects_.empty() || senders_.empty() || senders_.contains(sender);
}

absl::StatusOr<storage::WriteTransaction*> SharedTransaction::Begin() {
  if (!transaction_.has_value()) {
    absl::StatusOr<storage::WriteTransaction> begun = environment_.BeginWrite(permit_);
    if (!begun.ok()) return begun.status();
    transaction_.emplace(*std::move(begun));
  }
  return &*transaction_;
}

void SharedTransaction::Wait(const void* sender, Answer answer) {
  senders_.insert(sender);
  waiting_.push_back({sender, std::move(answer)});
}

absl::Status SharedTransaction::Commit() {
  absl::Status status;
  if (transaction_.has_value()) {
    status = transaction_->Commit();
    transaction_.reset();
    for (Applier* applier : appliers_) status.ok() ? applier->Committed() : applier->Aborted();
  }
  if (status.ok()) {
    for (const void* sender : senders_) suspects_.erase(sender);
    Decide(status);
  } else if (senders_.size() == 1) {
    suspects_.clear();  // It failed alone: nobody else is to blame.
    Decide(status);
  } else {
    suspects_ = senders_;
    Decide(absl::AbortedError(
        absl::StrCat("the transaction was aborted, one sender at a time now: ", status.message())));
  }
  return status;
}

void SharedTransaction::Abort(const absl::Status& cause) {
  transaction_.reset();
  for (Applier* applier : appliers_) applier->Aborted();
  Decide(absl::AbortedError(absl::StrCat("the transaction was aborted: ", cause.message())));
}

void SharedTransaction::Decide(const absl::Status& status) {
  for (Waiting& waiting : waiting_) decided_.push_back({std::move(waiting.answer), status});
  waiting_.clear();
  senders_.clear();
}

}  // namespace millrace
