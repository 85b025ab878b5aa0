#include "tests/testing/allocation_faults.h"

#include <cstdlib>
#include <new>

namespace millrace::testing {
namespace {

// Trivial, so that it can be used by any allocation at any time.
struct Plan {
  bool armed = false;
  bool struck = false;
  int64_t before_first = 0;  // Allocations that still succeed.
  int64_t left = 0;          // Of those that fail.
  size_t bytes_min = 0;
  size_t bytes_max = 0;
};
thread_local Plan plan;

bool Fails(size_t bytes) {
  if (!plan.armed || bytes < plan.bytes_min || bytes > plan.bytes_max) return false;
  if (plan.before_first > 0) {
    --plan.before_first;
    return false;
  }
  if (plan.left == 0) return false;
  --plan.left;
  plan.struck = true;
  return true;
}

void* AllocateOrNull(size_t bytes, size_t alignment) {
  if (Fails(bytes)) return nullptr;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes == 0 ? 1 : bytes);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* Allocate(size_t bytes, size_t alignment) {
  void* const memory = AllocateOrNull(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

AllocationFaults::AllocationFaults(const Which& which) {
  plan = {.armed = true,
          .before_first = which.nth - 1,
          .left = which.count,
          .bytes_min = which.bytes_min,
          .bytes_max = which.bytes_max};
}

AllocationFaults::~AllocationFaults() {
  plan = {};
}

bool AllocationFaults::struck() const {
  return plan.struck;
}

}  // namespace millrace::testing

using millrace::testing::Allocate;
using millrace::testing::AllocateOrNull;

void* operator new(size_t bytes) {
  return Allocate(bytes, 0);
}
void* operator new[](size_t bytes) {
  return Allocate(bytes, 0);
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<size_t>(alignment));
}
void* operator new[](size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<size_t>(alignment));
}
void* operator new(size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return AllocateOrNull(bytes, 0);
}
void* operator new[](size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return AllocateOrNull(bytes, 0);
}
void* operator new(size_t bytes, std::align_val_t alignment,
                   const std::nothrow_t& /*tag*/) noexcept {
  return AllocateOrNull(bytes, static_cast<size_t>(alignment));
}
void* operator new[](size_t bytes, std::align_val_t alignment,
                     const std::nothrow_t& /*tag*/) noexcept {
  return AllocateOrNull(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t /*bytes*/) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, size_t /*bytes*/) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t /*bytes*/, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, size_t /*bytes*/, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t& /*tag*/) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, const std::nothrow_t& /*tag*/) noexcept {
  std::free(memory);
}
