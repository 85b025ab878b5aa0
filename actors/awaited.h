#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "millrace/runtime/reply.h"

namespace millrace {

// What an actor does with the answers that it waits for, by request. Owned by the actor's thread.
template <typename T>
class Awaited {
 public:
  using Then = absl::AnyInvocable<void(absl::StatusOr<T>)>;

  // The number of the request, for ReplyTo().
  uint64_t Add(Then then) {
    waiting_.emplace(++last_, std::move(then));
    return last_;
  }
  void Take(Answer<T> answer) {
    auto node = waiting_.extract(answer.request);
    if (!node.empty()) node.mapped()(std::move(answer.result));
  }
  void Clear() { waiting_.clear(); }

 private:
  uint64_t last_ = 0;
  std::map<uint64_t, Then> waiting_;
};

}  // namespace millrace
