#pragma once

#include <cstdint>
#include <deque>
#include <utility>

#include "absl/functional/any_invocable.h"

#include "millrace/runtime/link.h"

namespace millrace {

// A link that never wants for a credit: what is sent beyond them waits here, in order. For requests
// whose number the sender bounds itself. Owned by the sender's thread; the receiver outlives it.
template <typename Receiver>
class LinkQueue {
 public:
  LinkQueue(Receiver& receiver, uint32_t credits, Cell* sender)
      : link_(receiver, credits, sender) {}

  // As Link::Ask. What waits when the queue is destroyed or cleared is answered Cancelled.
  template <Request M>
  void Ask(M message, Reply<typename M::ReplyType> reply) {
    if (waiting_.empty() && link_.available() > 0) {
      return link_.Ask(std::move(message), std::move(reply));
    }
    waiting_.push_back([this, message = std::move(message), reply = std::move(reply)]() mutable {
      link_.Ask(std::move(message), std::move(reply));
    });
  }
  // Sends what waits, as far as there are credits: to be called with every answer, which returns
  // one.
  void SendWaiting() {
    while (!waiting_.empty() && link_.available() > 0) {
      waiting_.front()();
      waiting_.pop_front();
    }
  }
  void Clear() { waiting_.clear(); }

 private:
  Link<Receiver> link_;
  std::deque<absl::AnyInvocable<void()>> waiting_;
};

}  // namespace millrace
