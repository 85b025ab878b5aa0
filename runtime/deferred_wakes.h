#pragma once

#include <cstddef>

namespace millrace {

// While one is in scope, answers sent on its thread wake nobody; when it goes, everyone who sleeps
// on one of them is woken, in order. Whoever answers many at once puts one around them: a waiter
// woken at the first answer takes the core from who is still sending the others, and soon sleeps
// again for the next. Not nested; owned by its thread.
class DeferredWakes {
 public:
  DeferredWakes();
  DeferredWakes(const DeferredWakes&) = delete;
  DeferredWakes& operator=(const DeferredWakes&) = delete;
  ~DeferredWakes();

  // For ReplyCellBase: wakes who sleeps on the word at `address`, at once or deferred. Only the
  // address is used: a waiter that saw its answer without sleeping may have freed the word.
  static void Wake(const void* address);
  // For whoever runs several threads in one: the scope of the thread that goes on (or null) takes
  // the place of the one that is in force, which is returned.
  static DeferredWakes* Exchange(DeferredWakes* scope);

 private:
  // Bounds the memory, and what the first waiter waits for the others.
  static constexpr size_t kAddressesMax = 128;

  void WakeAll();

  const void* addresses_[kAddressesMax];
  size_t count_ = 0;
};

}  // namespace millrace
