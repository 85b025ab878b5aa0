#pragma once

namespace millrace {

// One kind of work that the Writer does: it turns messages into writes of the Writer's transaction
// and may remember where its rows stand. A derived class has, for each message M that it takes,
//
//   absl::StatusOr<M::ReplyType> Apply(storage::WriteTransaction& transaction, const M& message);
//
// An error refuses the message. If nothing was written for it before, nobody else notices; else the
// whole transaction is aborted, for what is half written must not be committed. What Apply answers
// reaches the asker after the transaction is synced. Owned by the Writer thread.
class Applier {
 public:
  Applier() = default;
  Applier(const Applier&) = delete;
  Applier& operator=(const Applier&) = delete;
  virtual ~Applier() = default;

  // All that was applied since the last call of either is durable / is gone without a trace.
  virtual void Committed() = 0;
  virtual void Aborted() = 0;
};

}  // namespace millrace
