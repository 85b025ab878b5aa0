#pragma once

#include <cstdint>
#include <type_traits>

#include "millrace/runtime/reply.h"

namespace millrace {

// What the kernel reads off a message type.

// A request names its answer: `using ReplyType = Committed;`.
template <typename M>
concept Request = requires {
  typename M::ReplyType;
};

// `static constexpr bool kControl = true;`: travels in the control lane.
template <typename M>
constexpr bool IsControl() {
  if constexpr (requires { M::kControl; }) {
    return M::kControl;
  } else {
    return false;
  }
}

// `size_t PayloadBytes() const`: what counts against the mailbox's byte bound.
template <typename M>
uint64_t PayloadBytesOf(const M& message) {
  if constexpr (requires { message.PayloadBytes(); }) {
    return message.PayloadBytes();
  } else {
    return 0;
  }
}

template <typename M>
inline constexpr bool kIsAnswer = false;
template <typename T>
inline constexpr bool kIsAnswer<Answer<T>> = true;

}  // namespace millrace
