#pragma once

#include <cstdint>
#include <string_view>
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

// The type's name without its namespace, e.g. "Commit" or "Answer<millrace::Applied>".
template <typename M>
constexpr std::string_view MessageName() {
  const std::string_view function = __PRETTY_FUNCTION__;
  const size_t begin = function.find("M = ") + 4;
  const std::string_view name = function.substr(begin, function.find_first_of(";]", begin) - begin);
  const size_t arguments = name.find('<');
  const size_t scope = name.substr(0, arguments).rfind("::");
  return scope == std::string_view::npos ? name : name.substr(scope + 2);
}

}  // namespace millrace
