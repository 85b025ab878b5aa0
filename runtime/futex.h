#pragma once

#include <atomic>
#include <cstdint>

#include "millrace/runtime/clock.h"

namespace millrace {

// How the kernel's own lock-free words are stored, slept on and woken: std::atomic and the Linux
// futex. Gate and mailbox take this as a template parameter, so that a model checker can put its
// own atomics in its place. Thread-safe.
struct SystemSync {
  template <typename T>
  using Atom = std::atomic<T>;

  // Sleeps while `word` holds `expected`, at most until `deadline` of CLOCK_MONOTONIC. May return
  // early without a reason: the caller looks again. Of a 64-bit word the low half is compared.
  static void Wait(const std::atomic<uint32_t>& word, uint32_t expected, MonotonicTime deadline);
  static void Wait(const std::atomic<uint64_t>& word, uint64_t expected, MonotonicTime deadline);

  // Wakes those who sleep on `word`. The word may already be freed memory: nothing is read.
  static void WakeOne(const void* word);
  static void WakeAll(const void* word);

  // One turn of a short poll.
  static void Pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");
#endif
  }
};

}  // namespace millrace
