// A preload library that makes the I/O of a process fail as told. See io_shim.h.

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <dlfcn.h>
#include <limits.h>

namespace {

struct Rule {
  char operation[16];
  char path[128];
  long nth;
  long below;  // -1: any offset.
  int error;
  long short_bytes;  // -1: fails with `error`.
  bool forever;
  long seen;
};

constexpr int kRulesMax = 16;
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
Rule rules[kRulesMax];
int rule_count = 0;
bool initialized = false;

void ParseWord(const char* word, Rule* rule) {
  if (strncmp(word, "path=", 5) == 0) {
    snprintf(rule->path, sizeof(rule->path), "%s", word + 5);
  } else if (strncmp(word, "nth=", 4) == 0) {
    rule->nth = atol(word + 4);
  } else if (strncmp(word, "below=", 6) == 0) {
    rule->below = atol(word + 6);
  } else if (strncmp(word, "errno=", 6) == 0) {
    rule->error = atoi(word + 6);
  } else if (strncmp(word, "short=", 6) == 0) {
    rule->short_bytes = atol(word + 6);
  } else if (strcmp(word, "forever") == 0) {
    rule->forever = true;
  } else {
    snprintf(rule->operation, sizeof(rule->operation), "%s", word);
  }
}

void Parse(const char* text) {
  rule_count = 0;
  char copy[2048];
  snprintf(copy, sizeof(copy), "%s", text);
  char* outer = nullptr;
  for (char* part = strtok_r(copy, ";", &outer); part != nullptr && rule_count < kRulesMax;
       part = strtok_r(nullptr, ";", &outer)) {
    Rule rule = {};
    rule.nth = 1;
    rule.below = -1;
    rule.short_bytes = -1;
    char* inner = nullptr;
    for (char* word = strtok_r(part, " ", &inner); word != nullptr;
         word = strtok_r(nullptr, " ", &inner)) {
      ParseWord(word, &rule);
    }
    if (rule.operation[0] != '\0') rules[rule_count++] = rule;
  }
}

bool PathContains(int descriptor, const char* text) {
  char link[64];
  char path[PATH_MAX];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
  const ssize_t size = readlink(link, path, sizeof(path) - 1);
  if (size < 0) return false;
  path[size] = '\0';
  return strstr(path, text) != nullptr;
}

// The rule that strikes this call, copied to `struck`. `offset` is -1 where there is none.
bool Strikes(const char* operation, int descriptor, long offset, Rule* struck) {
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
    if (!PathContains(descriptor, rule.path)) continue;
    ++rule.seen;
    if (rule.seen == rule.nth || (rule.forever && rule.seen > rule.nth)) {
      found = true;
      *struck = rule;
    }
  }
  pthread_mutex_unlock(&mutex);
  errno = saved;
  return found;
}

template <typename Function>
Function* Real(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int Fail(const Rule& rule) {
  errno = rule.error;
  return -1;
}

size_t Shorter(const Rule& rule, size_t size) {
  const size_t wanted = static_cast<size_t>(rule.short_bytes);
  return wanted < size ? wanted : size;
}

ssize_t WriteShort(const Rule& rule, int descriptor, const struct iovec* parts, int count,
                   off_t offset) {
  static const auto real = Real(&pwrite, "pwrite");
  ssize_t written = 0;
  for (int i = 0; i < count && written < rule.short_bytes; ++i) {
    const size_t room = static_cast<size_t>(rule.short_bytes - written);
    const size_t size = parts[i].iov_len < room ? parts[i].iov_len : room;
    const ssize_t part = real(descriptor, parts[i].iov_base, size, offset + written);
    if (part < 0) return part;
    written += part;
  }
  return written;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) void millrace_io_shim_set(const char* text) {
  pthread_mutex_lock(&mutex);
  initialized = true;
  Parse(text);
  pthread_mutex_unlock(&mutex);
}

__attribute__((visibility("default"))) ssize_t pwrite(int descriptor, const void* data, size_t size,
                                                      off_t offset) {
  static const auto real = Real(&pwrite, "pwrite");
  Rule rule;
  if (!Strikes("pwrite", descriptor, offset, &rule)) return real(descriptor, data, size, offset);
  if (rule.short_bytes < 0) return Fail(rule);
  return real(descriptor, data, Shorter(rule, size), offset);
}

__attribute__((visibility("default"))) ssize_t pwrite64(int descriptor, const void* data,
                                                        size_t size, off_t offset) {
  return pwrite(descriptor, data, size, offset);
}

__attribute__((visibility("default"))) ssize_t writev(int descriptor, const struct iovec* parts,
                                                      int count) {
  static const auto real = Real(&writev, "writev");
  Rule rule;
  const off_t offset = lseek(descriptor, 0, SEEK_CUR);
  if (!Strikes("writev", descriptor, offset, &rule)) return real(descriptor, parts, count);
  if (rule.short_bytes < 0) return Fail(rule);
  const ssize_t written = WriteShort(rule, descriptor, parts, count, offset);
  if (written > 0) lseek(descriptor, written, SEEK_CUR);
  return written;
}

__attribute__((visibility("default"))) ssize_t pwritev(int descriptor, const struct iovec* parts,
                                                       int count, off_t offset) {
  static const auto real = Real(&pwritev, "pwritev");
  Rule rule;
  if (!Strikes("writev", descriptor, offset, &rule)) {
    return real(descriptor, parts, count, offset);
  }
  if (rule.short_bytes < 0) return Fail(rule);
  return WriteShort(rule, descriptor, parts, count, offset);
}

__attribute__((visibility("default"))) int fdatasync(int descriptor) {
  static const auto real = Real(&fdatasync, "fdatasync");
  Rule rule;
  return Strikes("fdatasync", descriptor, -1, &rule) ? Fail(rule) : real(descriptor);
}

__attribute__((visibility("default"))) int fsync(int descriptor) {
  static const auto real = Real(&fsync, "fsync");
  Rule rule;
  return Strikes("fsync", descriptor, -1, &rule) ? Fail(rule) : real(descriptor);
}

__attribute__((visibility("default"))) int ftruncate(int descriptor, off_t size) noexcept {
  static const auto real = Real(&ftruncate, "ftruncate");
  Rule rule;
  return Strikes("ftruncate", descriptor, -1, &rule) ? Fail(rule) : real(descriptor, size);
}

}  // extern "C"
