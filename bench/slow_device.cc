#include "bench/slow_device.h"

#include <fcntl.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include <dlfcn.h>

namespace {

std::atomic<int64_t> g_delay_us{0};

void Delay() {
  const int64_t delay = g_delay_us.load(std::memory_order_relaxed);  // A setting, no message.
  if (delay == 0) return;
  timespec rest = {static_cast<time_t>(delay / 1'000'000), delay % 1'000'000 * 1'000};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, &rest) == EINTR) {
  }
}

void DelayIfSynchronous(int descriptor) {
  if (g_delay_us.load(std::memory_order_relaxed) == 0) return;  // A setting, no message.
  const int saved = errno;
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags >= 0 && (flags & O_DSYNC) != 0) Delay();
  errno = saved;
}

// The function of that name that this one stands in front of.
template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

void millrace_bench_set_device_delay(int64_t microseconds) {
  g_delay_us.store(microseconds, std::memory_order_relaxed);
}

int fdatasync(int descriptor) {
  static auto* const next = Next<int(int)>("fdatasync");
  Delay();
  return next(descriptor);
}

int fsync(int descriptor) {
  static auto* const next = Next<int(int)>("fsync");
  Delay();
  return next(descriptor);
}

ssize_t write(int descriptor, const void* data, size_t size) {
  static auto* const next = Next<ssize_t(int, const void*, size_t)>("write");
  DelayIfSynchronous(descriptor);
  return next(descriptor, data, size);
}

ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) {
  static auto* const next = Next<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  DelayIfSynchronous(descriptor);
  return next(descriptor, data, size, offset);
}

ssize_t pwrite64(int descriptor, const void* data, size_t size, off64_t offset) {
  static auto* const next = Next<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  DelayIfSynchronous(descriptor);
  return next(descriptor, data, size, offset);
}

ssize_t pwritev(int descriptor, const iovec* pieces, int count, off_t offset) {
  static auto* const next = Next<ssize_t(int, const iovec*, int, off_t)>("pwritev");
  DelayIfSynchronous(descriptor);
  return next(descriptor, pieces, count, offset);
}

ssize_t pwritev64(int descriptor, const iovec* pieces, int count, off64_t offset) {
  static auto* const next = Next<ssize_t(int, const iovec*, int, off64_t)>("pwritev64");
  DelayIfSynchronous(descriptor);
  return next(descriptor, pieces, count, offset);
}

}  // extern "C"
