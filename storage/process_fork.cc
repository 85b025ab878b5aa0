#include "millrace/storage/process_fork.h"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>

namespace millrace::storage {
namespace {

// Constant-initialized, because the child's handler may run at any time after the first use.
std::atomic<uint32_t> generation{0};
std::array<std::atomic<int>, 256> descriptors;  // 0 = free, else descriptor + 1.

// Runs in the child, where only async-signal-safe calls are allowed.
void OnForkedChild() {
  generation.fetch_add(1);
  for (std::atomic<int>& slot : descriptors) {
    if (const int held = slot.exchange(0); held != 0) close(held - 1);
  }
}

}  // namespace

uint32_t ForkGeneration() {
  static const int registered = pthread_atfork(nullptr, nullptr, OnForkedChild);
  static_cast<void>(registered);
  // Relaxed: a child has one thread, which the handler ran on.
  return generation.load(std::memory_order_relaxed);
}

void CloseInForkedChildren(int descriptor) {
  ForkGeneration();  // Registers the handler.
  for (std::atomic<int>& slot : descriptors) {
    int expected = 0;
    if (slot.compare_exchange_strong(expected, descriptor + 1)) return;
  }
}

void ForgetForkedDescriptor(int descriptor) {
  for (std::atomic<int>& slot : descriptors) {
    int expected = descriptor + 1;
    if (slot.compare_exchange_strong(expected, 0)) return;
  }
}

}  // namespace millrace::storage
