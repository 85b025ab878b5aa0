#pragma once

#include <cstdint>
#include <utility>

#include "absl/status/status.h"

#include "millrace/runtime/actor.h"
#include "millrace/runtime/check.h"
#include "millrace/runtime/link_credits.h"

namespace millrace {

// How an actor sends to another: with credits, slots of its own in the other's mailbox, so that it
// is never refused for lack of room. The receiver's mailbox is as large as its own bound and all
// the credits that were given. FIFO in itself; nothing is promised across two links. Owned by the
// sender's thread; both actors outlive it.
template <typename Receiver>
class Link {
 public:
  // `sender` (may be null) is rung when a credit returns after it found none.
  Link(Receiver& receiver, uint32_t credits, Cell* sender)
      : receiver_(receiver),
        producer_(receiver.mailbox_.MakeProducer()),
        credits_(credits, sender) {}

  // How many messages can be sent now.
  uint32_t available() const { return credits_.available(); }
  // True if a message can be sent now; else the sender will be rung when one can.
  bool Ready() {
    if (!credits_.TryTake()) return false;
    credits_.Return();
    return true;
  }

  // One way. The credit returns when the receiver has taken the message up. Cancelled if the
  // receiver is closed. With no credit available it is a bug of the caller.
  template <typename M>
  absl::Status Tell(M message) {
    if (!credits_.TryTake()) DieOfBug("Link::Tell without a credit");
    const Admission admission =
        receiver_.SendLinked(producer_, std::move(message), AnyReply(), &credits_);
    if (admission != Admission::kAdmitted) credits_.Return();
    return receiver_.RefusalOf(admission);
  }

  // `reply` is the sender's ReplyTo(): the answer, which a refusal is too, arrives in the sender's
  // mailbox and returns the credit.
  template <Request M>
  void Ask(M message, Reply<typename M::ReplyType> reply) {
    if (!credits_.TryTake()) DieOfBug("Link::Ask without a credit");
    reply.cell()->address().credits = &credits_;
    receiver_.SendLinked(producer_, std::move(message), AnyReply(reply.Detach()), nullptr);
  }

 private:
  Receiver& receiver_;
  typename Receiver::Producer producer_;
  LinkCredits credits_;
};

}  // namespace millrace
