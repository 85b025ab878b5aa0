// A preload library that makes the I/O of a process fail as told, and reports it. See io_shim.h.

#include "tests/testing/io_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <dlfcn.h>
#include <limits.h>
#include <stdarg.h>

namespace {

using millrace::testing::IoCall;
using millrace::testing::IoObserver;

struct Rule {
  char operation[16];
  char path[128];
  long nth;
  long below;  // -1: any offset.
  long from;   // -1: any offset.
  int error;
  long short_bytes;  // -1: fails with `error`.
  bool lie;
  bool kills;
  bool forever;
  long seen;
};

constexpr int kRulesMax = 16;
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
Rule rules[kRulesMax];
int rule_count = 0;
long struck_count = 0;
bool initialized = false;
IoObserver observer = nullptr;  // Read and written as an atomic.

void ParseWord(const char* word, Rule* rule) {
  if (strncmp(word, "path=", 5) == 0) {
    snprintf(rule->path, sizeof(rule->path), "%s", word + 5);
  } else if (strncmp(word, "nth=", 4) == 0) {
    rule->nth = atol(word + 4);
  } else if (strncmp(word, "below=", 6) == 0) {
    rule->below = atol(word + 6);
  } else if (strncmp(word, "from=", 5) == 0) {
    rule->from = atol(word + 5);
  } else if (strncmp(word, "errno=", 6) == 0) {
    rule->error = atoi(word + 6);
  } else if (strncmp(word, "short=", 6) == 0) {
    rule->short_bytes = atol(word + 6);
  } else if (strcmp(word, "lie") == 0) {
    rule->lie = true;
  } else if (strcmp(word, "kill") == 0) {
    rule->kills = true;
  } else if (strcmp(word, "forever") == 0) {
    rule->forever = true;
  } else {
    snprintf(rule->operation, sizeof(rule->operation), "%s", word);
  }
}

void Parse(const char* text) {
  rule_count = 0;
  struck_count = 0;
  char copy[2048];
  snprintf(copy, sizeof(copy), "%s", text);
  char* outer = nullptr;
  for (char* part = strtok_r(copy, ";", &outer); part != nullptr && rule_count < kRulesMax;
       part = strtok_r(nullptr, ";", &outer)) {
    Rule rule = {};
    rule.nth = 1;
    rule.below = -1;
    rule.from = -1;
    rule.short_bytes = -1;
    char* inner = nullptr;
    for (char* word = strtok_r(part, " ", &inner); word != nullptr;
         word = strtok_r(nullptr, " ", &inner)) {
      ParseWord(word, &rule);
    }
    if (rule.operation[0] != '\0') rules[rule_count++] = rule;
  }
}

// What a call is about: a path, or a descriptor.
bool Contains(const char* path, int descriptor, const char* text) {
  if (path != nullptr) return strstr(path, text) != nullptr;
  char link[64];
  char target[PATH_MAX];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
  const ssize_t size = readlink(link, target, sizeof(target) - 1);
  if (size < 0) return false;
  target[size] = '\0';
  return strstr(target, text) != nullptr;
}

// The rule that strikes this call, copied to `struck`. `offset` is -1 where there is none.
bool Strikes(const char* operation, const char* path, int descriptor, long offset, Rule* struck) {
  const int saved = errno;
  bool found = false;
  pthread_mutex_lock(&mutex);
  if (!initialized) {
    initialized = true;
    if (const char* text = getenv("MILLRACE_IO_FAULTS")) Parse(text);
  }
  for (int i = 0; i < rule_count && !found; ++i) {
    Rule& rule = rules[i];
    if (strcmp(rule.operation, operation) != 0) continue;
    if (rule.below >= 0 && (offset < 0 || offset >= rule.below)) continue;
    if (rule.from >= 0 && offset < rule.from) continue;
    if (!Contains(path, descriptor, rule.path)) continue;
    ++rule.seen;
    if (rule.seen == rule.nth || (rule.forever && rule.seen > rule.nth)) {
      found = true;
      *struck = rule;
      ++struck_count;
    }
  }
  pthread_mutex_unlock(&mutex);
  if (found && struck->kills) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  errno = saved;
  return found;
}

template <typename Function>
Function* Real(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

// The result of a call that a rule has struck: nothing was done.
int Refuse(const Rule& rule) {
  if (rule.lie) return 0;
  errno = rule.error;
  return -1;
}

void Report(const IoCall& call) {
  const IoObserver report = __atomic_load_n(&observer, __ATOMIC_ACQUIRE);
  if (report == nullptr) return;
  const int saved = errno;
  report(call);
  errno = saved;
}

IoCall OfDescriptor(IoCall::Kind kind, int descriptor, int64_t result) {
  IoCall call = {};
  call.kind = kind;
  call.descriptor = descriptor;
  call.result = result;
  return call;
}

void ReportWriteBegin(int descriptor, const void* data, size_t size, off_t offset) {
  IoCall call = OfDescriptor(IoCall::kWriteBegin, descriptor, 0);
  call.offset = static_cast<uint64_t>(offset);
  call.data = static_cast<const char*>(data);
  call.size = size;
  Report(call);
}

void ReportPaths(IoCall::Kind kind, const char* path, const char* other_path) {
  IoCall call = OfDescriptor(kind, -1, 0);
  call.path = path;
  call.other_path = other_path;
  Report(call);
}

size_t Shorter(const Rule& rule, size_t size) {
  const size_t wanted = static_cast<size_t>(rule.short_bytes);
  return wanted < size ? wanted : size;
}

// A write of one piece, as it is told to be.
template <typename Write>
ssize_t WriteOne(int descriptor, const void* data, size_t size, off_t offset, Write write) {
  Rule rule;
  if (Strikes("pwrite", nullptr, descriptor, offset, &rule)) {
    if (rule.lie) return static_cast<ssize_t>(size);
    if (rule.short_bytes < 0) return Refuse(rule);
    size = Shorter(rule, size);
  }
  ReportWriteBegin(descriptor, data, size, offset);
  const ssize_t written = write(size);
  Report(OfDescriptor(IoCall::kWriteEnd, descriptor, written));
  return written;
}

// A write of several pieces: piece by piece if one must be cut, else as it is.
template <typename Write>
ssize_t WriteMany(int descriptor, const struct iovec* parts, int count, off_t offset, Write write) {
  static const auto real = Real(&pwrite, "pwrite");
  Rule rule;
  ssize_t written = 0;
  if (!Strikes("writev", nullptr, descriptor, offset, &rule)) {
    written = write();
  } else if (rule.lie) {
    for (int i = 0; i < count; ++i) written += static_cast<ssize_t>(parts[i].iov_len);
    return written;
  } else if (rule.short_bytes < 0) {
    return Refuse(rule);
  } else {
    for (int i = 0; i < count && written < rule.short_bytes; ++i) {
      const size_t room = static_cast<size_t>(rule.short_bytes - written);
      const size_t size = parts[i].iov_len < room ? parts[i].iov_len : room;
      const ssize_t part = real(descriptor, parts[i].iov_base, size, offset + written);
      if (part < 0) return part;
      written += part;
    }
  }
  ssize_t left = written;
  for (int i = 0; i < count && left > 0; ++i) {
    const ssize_t part = static_cast<ssize_t>(parts[i].iov_len);
    const ssize_t size = part < left ? part : left;
    ReportWriteBegin(descriptor, parts[i].iov_base, static_cast<size_t>(size), offset);
    Report(OfDescriptor(IoCall::kWriteEnd, descriptor, size));
    offset += size;
    left -= size;
  }
  return written;
}

template <typename Call>
int Sync(const char* operation, int descriptor, Call call) {
  Rule rule;
  if (Strikes(operation, nullptr, descriptor, -1, &rule)) return Refuse(rule);
  Report(OfDescriptor(IoCall::kSyncBegin, descriptor, 0));
  const int result = call();
  Report(OfDescriptor(IoCall::kSyncEnd, descriptor, result));
  return result;
}

}  // namespace

extern "C" {

#define MILLRACE_EXPORT __attribute__((visibility("default")))

MILLRACE_EXPORT void millrace_io_shim_set(const char* text) {
  pthread_mutex_lock(&mutex);
  initialized = true;
  Parse(text);
  pthread_mutex_unlock(&mutex);
}

MILLRACE_EXPORT int64_t millrace_io_shim_struck() {
  pthread_mutex_lock(&mutex);
  const int64_t count = struck_count;
  pthread_mutex_unlock(&mutex);
  return count;
}

MILLRACE_EXPORT void millrace_io_shim_observe(IoObserver report) {
  __atomic_store_n(&observer, report, __ATOMIC_RELEASE);
}

MILLRACE_EXPORT int open(const char* path, int flags, ...) {
  static const auto real = Real(&open, "open");
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  Rule rule;
  if (Strikes("open", path, -1, -1, &rule)) return Refuse(rule);
  const int descriptor = real(path, flags, mode);
  if (descriptor >= 0) {
    IoCall call = OfDescriptor(IoCall::kOpen, descriptor, descriptor);
    call.path = path;
    call.flags = flags;
    Report(call);
  }
  return descriptor;
}

MILLRACE_EXPORT int open64(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  return open(path, flags, mode);
}

MILLRACE_EXPORT int close(int descriptor) {
  static const auto real = Real(&close, "close");
  Report(OfDescriptor(IoCall::kClose, descriptor, 0));
  return real(descriptor);
}

MILLRACE_EXPORT ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) {
  static const auto real = Real(&pwrite, "pwrite");
  return WriteOne(descriptor, data, size, offset,
                  [&](size_t bytes) { return real(descriptor, data, bytes, offset); });
}

MILLRACE_EXPORT ssize_t pwrite64(int descriptor, const void* data, size_t size, off_t offset) {
  return pwrite(descriptor, data, size, offset);
}

MILLRACE_EXPORT ssize_t writev(int descriptor, const struct iovec* parts, int count) {
  static const auto real = Real(&writev, "writev");
  const off_t offset = lseek(descriptor, 0, SEEK_CUR);
  const ssize_t written =
      WriteMany(descriptor, parts, count, offset, [&] { return real(descriptor, parts, count); });
  // A write that was cut, or is a lie, has not moved the place.
  if (written > 0 && offset >= 0) lseek(descriptor, offset + written, SEEK_SET);
  return written;
}

MILLRACE_EXPORT ssize_t pwritev(int descriptor, const struct iovec* parts, int count,
                                off_t offset) {
  static const auto real = Real(&pwritev, "pwritev");
  return WriteMany(descriptor, parts, count, offset,
                   [&] { return real(descriptor, parts, count, offset); });
}

MILLRACE_EXPORT int fdatasync(int descriptor) {
  static const auto real = Real(&fdatasync, "fdatasync");
  return Sync("fdatasync", descriptor, [descriptor] { return real(descriptor); });
}

MILLRACE_EXPORT int fsync(int descriptor) {
  static const auto real = Real(&fsync, "fsync");
  return Sync("fsync", descriptor, [descriptor] { return real(descriptor); });
}

MILLRACE_EXPORT int ftruncate(int descriptor, off_t size) noexcept {
  static const auto real = Real(&ftruncate, "ftruncate");
  Rule rule;
  if (Strikes("ftruncate", nullptr, descriptor, -1, &rule)) return Refuse(rule);
  const int result = real(descriptor, size);
  if (result == 0) {
    IoCall call = OfDescriptor(IoCall::kTruncate, descriptor, 0);
    call.offset = static_cast<uint64_t>(size);
    Report(call);
  }
  return result;
}

MILLRACE_EXPORT int rename(const char* from, const char* to) noexcept {
  static const auto real = Real(&rename, "rename");
  Rule rule;
  if (Strikes("rename", from, -1, -1, &rule)) return Refuse(rule);
  const int result = real(from, to);
  if (result == 0) ReportPaths(IoCall::kRename, from, to);
  return result;
}

MILLRACE_EXPORT int renameat2(int from_directory, const char* from, int to_directory,
                              const char* to, unsigned flags) noexcept {
  static const auto real = Real(&renameat2, "renameat2");
  Rule rule;
  if (Strikes("rename", from, -1, -1, &rule)) return Refuse(rule);
  const int result = real(from_directory, from, to_directory, to, flags);
  const bool exchanged = (flags & RENAME_EXCHANGE) != 0;
  if (result == 0) ReportPaths(exchanged ? IoCall::kExchange : IoCall::kRename, from, to);
  return result;
}

MILLRACE_EXPORT int unlink(const char* path) noexcept {
  static const auto real = Real(&unlink, "unlink");
  Rule rule;
  if (Strikes("unlink", path, -1, -1, &rule)) return Refuse(rule);
  const int result = real(path);
  if (result == 0) ReportPaths(IoCall::kRemove, path, nullptr);
  return result;
}

MILLRACE_EXPORT int mkdir(const char* path, mode_t mode) noexcept {
  static const auto real = Real(&mkdir, "mkdir");
  Rule rule;
  if (Strikes("mkdir", path, -1, -1, &rule)) return Refuse(rule);
  const int result = real(path, mode);
  if (result == 0) ReportPaths(IoCall::kMakeDirectory, path, nullptr);
  return result;
}

}  // extern "C"
