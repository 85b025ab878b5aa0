#pragma once

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/actors/applier.h"
#include "millrace/storage/environment.h"

namespace millrace {

// The Writer's one open transaction: work of several senders, and who of them waits for it. It is
// durable for all of them or gone for all of them. When it is gone for no reason that names one of
// them, each is told so, and from then on gets a transaction of its own, until one of those fails
// too, which names the culprit, or all have passed. Owned by the Writer thread.
class SharedTransaction {
 public:
  // Answers one asker: OK is for what was applied, an error for a transaction that is gone.
  using Answer = absl::AnyInvocable<void(const absl::Status&)>;
  // The status that Answer is to be called with.
  struct Decided {
    Answer answer;
    absl::Status status;
  };

  SharedTransaction(storage::Environment& environment, storage::WritePermit permit)
      : environment_(environment), permit_(std::move(permit)) {}

  // Is told of every commit and abort from now on.
  void Add(Applier& applier) { appliers_.push_back(&applier); }

  // Whether work of this sender may join what is open; if not, commit first.
  bool Admits(const void* sender) const;
  // The open transaction, begun if there is none.
  absl::StatusOr<storage::WriteTransaction*> Begin();
  // Who waits for the open transaction; the answer may be one that has been refused.
  void Wait(const void* sender, Answer answer);

  // Ends it. Everyone who waits is in decided() afterwards. The status is the commit's.
  absl::Status Commit();
  // Ends it without a trace because of `cause`: everyone who waits is told Aborted.
  void Abort(const absl::Status& cause);

  bool open() const { return transaction_.has_value(); }
  bool awaited() const { return !waiting_.empty(); }
  uint64_t written_bytes() const { return open() ? transaction_->written_bytes() : 0; }
  std::vector<Decided>& decided() { return decided_; }
  // Whether senders get transactions of their own.
  bool separating() const { return !suspects_.empty(); }

 private:
  struct Waiting {
    const void* sender;
    Answer answer;
  };

  void Decide(const absl::Status& status);

  storage::Environment& environment_;
  storage::WritePermit permit_;
  std::vector<Applier*> appliers_;
  std::optional<storage::WriteTransaction> transaction_;
  std::set<const void*> senders_;   // Whose work is in the open transaction.
  std::set<const void*> suspects_;  // Who must pass a transaction of his own.
  std::vector<Waiting> waiting_;
  std::vector<Decided> decided_;
};

}  // namespace millrace
