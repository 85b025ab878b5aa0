#pragma once

#include <cassert>
#include <thread>

#include "absl/base/thread_annotations.h"

namespace millrace {

// The thread an object belongs to, as a capability that Clang checks: a field that is
// ABSL_GUARDED_BY(owner) can be touched only in a function that requires or asserts the owner.
// Thread-compatible.
class ABSL_LOCKABLE OwnerThread {
 public:
  // Makes the calling thread the owner; once, before anything is asserted.
  void Bind() { id_ = std::this_thread::get_id(); }
  // Proves to the compiler, and in debug builds to the program, that we are on the owner's thread.
  void AssertOwned() const ABSL_ASSERT_EXCLUSIVE_LOCK() {
    assert(id_ == std::this_thread::get_id() && "called off the owner's thread");
  }

 private:
  std::thread::id id_;
};

}  // namespace millrace
