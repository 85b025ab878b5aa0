#include "millrace/runtime/deferred_wakes.h"

#include <utility>

#include "millrace/runtime/check.h"
#include "millrace/runtime/futex.h"

namespace millrace {
namespace {

thread_local DeferredWakes* innermost = nullptr;

}  // namespace

DeferredWakes::DeferredWakes() {
  if (std::exchange(innermost, this) != nullptr) DieOfBug("DeferredWakes are not nested");
}

DeferredWakes::~DeferredWakes() {
  innermost = nullptr;
  WakeAll();
}

DeferredWakes* DeferredWakes::Exchange(DeferredWakes* scope) {
  return std::exchange(innermost, scope);
}

void DeferredWakes::Wake(const void* address) {
  if (innermost == nullptr) return SystemSync::WakeAll(address);
  if (innermost->count_ == kAddressesMax) innermost->WakeAll();
  innermost->addresses_[innermost->count_++] = address;
}

void DeferredWakes::WakeAll() {
  for (size_t i = 0; i < count_; ++i) SystemSync::WakeAll(addresses_[i]);
  count_ = 0;
}

}  // namespace millrace
