#include "millrace/runtime/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <climits>
#include <ctime>

namespace millrace {
namespace {

static_assert(std::endian::native == std::endian::little,
              "The low half of a 64-bit word is taken to be at its address.");

void WaitAt(const void* address, uint32_t expected, MonotonicTime deadline) {
  timespec until;
  timespec* timeout = nullptr;
  if (deadline != MonotonicTime::Infinite()) {
    const int64_t nanoseconds = deadline.nanoseconds() < 0 ? 0 : deadline.nanoseconds();
    until.tv_sec = nanoseconds / 1'000'000'000;
    until.tv_nsec = nanoseconds % 1'000'000'000;
    timeout = &until;
  }
  // FUTEX_WAIT_BITSET takes an absolute time of CLOCK_MONOTONIC.
  syscall(SYS_futex, address, FUTEX_WAIT_BITSET_PRIVATE, expected, timeout, nullptr,
          FUTEX_BITSET_MATCH_ANY);
}

}  // namespace

void SystemSync::Wait(const std::atomic<uint32_t>& word, uint32_t expected,
                      MonotonicTime deadline) {
  WaitAt(&word, expected, deadline);
}

void SystemSync::Wait(const std::atomic<uint64_t>& word, uint64_t expected,
                      MonotonicTime deadline) {
  WaitAt(&word, static_cast<uint32_t>(expected), deadline);
}

void SystemSync::WakeOne(const void* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void SystemSync::WakeAll(const void* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace millrace
