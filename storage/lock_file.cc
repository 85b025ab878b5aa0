#include "millrace/storage/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <sched.h>

#include "millrace/storage/lmdb_status.h"
#include "millrace/storage/process_fork.h"

namespace millrace::storage {
namespace {

// An owner writes its pid right after it took the lock: how often we look for it in between.
constexpr int kLooksMax = 1000;

int ReadPid(int descriptor) {
  char text[32];
  const ssize_t size = pread(descriptor, text, sizeof(text), 0);
  int pid = 0;
  if (size <= 0 || !absl::SimpleAtoi(absl::string_view(text, static_cast<size_t>(size)), &pid)) {
    return 0;
  }
  // A pid that a killed owner left behind names nobody.
  return kill(pid, 0) == 0 || errno != ESRCH ? pid : 0;
}

// Makes the call again while a signal interrupts it.
template <typename Call>
auto Uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

int Open(const std::string& path, int flags) {
  return Uninterrupted([&] { return open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0644); });
}

// Locks the file, or closes it and says who has it.
absl::Status Lock(int descriptor, int kind, const std::string& path) {
  for (int look = 0; look < kLooksMax; ++look) {
    if (Uninterrupted([&] { return flock(descriptor, kind | LOCK_NB); }) == 0) {
      return absl::OkStatus();
    }
    const int error = errno;
    const int pid = error == EWOULDBLOCK ? ReadPid(descriptor) : 0;
    if (error != EWOULDBLOCK || pid != 0) {
      close(descriptor);
      return error == EWOULDBLOCK ? HeldByProcess(path, pid) : LmdbStatus(error, "locking", path);
    }
    sched_yield();
  }
  close(descriptor);
  return HeldByProcess(path, 0);
}

absl::Status WritePid(int descriptor, const std::string& path) {
  const std::string text = absl::StrCat(getpid(), "\n");
  errno = 0;
  if (Uninterrupted([&] { return ftruncate(descriptor, 0); }) != 0 ||
      Uninterrupted([&] { return pwrite(descriptor, text.data(), text.size(), 0); }) !=
          static_cast<ssize_t>(text.size())) {
    return LmdbStatus(errno != 0 ? errno : ENOSPC, "writing the pid to", path);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status HeldByProcess(const std::string& path, int pid) {
  absl::Status status = absl::UnavailableError(absl::StrCat(
      "the store is in use: ", path, " is locked by process ",
      pid == 0 ? std::string("(pid unknown)") : absl::StrCat(pid),
      pid == getpid() ? ", this one" : "", "; use the store there, or stop that process first"));
  if (pid != 0) status.SetPayload("millrace/owner-pid", absl::Cord(absl::StrCat(pid)));
  return status;
}

LockFile::LockFile(int descriptor, bool holds_pid)
    : descriptor_(descriptor), fork_generation_(ForkGeneration()), holds_pid_(holds_pid) {
  CloseInForkedChildren(descriptor);
}

absl::StatusOr<LockFile> LockFile::Acquire(const std::string& path) {
  const int descriptor = Open(path, O_RDWR | O_CREAT);
  if (descriptor < 0) return LmdbStatus(errno, "opening the lock file", path);
  if (absl::Status status = Lock(descriptor, LOCK_EX, path); !status.ok()) return status;
  absl::Status written = WritePid(descriptor, path);
  if (written.ok()) return LockFile(descriptor, /*holds_pid=*/true);
  close(descriptor);
  return written;
}

absl::StatusOr<LockFile> LockFile::AcquireForReading(const std::string& path) {
  const int descriptor = Open(path, O_RDONLY);
  if (descriptor < 0) return LmdbStatus(errno, "opening the lock file", path);
  if (absl::Status status = Lock(descriptor, LOCK_SH, path); !status.ok()) return status;
  return LockFile(descriptor, /*holds_pid=*/false);
}

LockFile::~LockFile() {
  // In a forked child the descriptor is closed already, and the lock is the parent's.
  if (descriptor_ < 0 || fork_generation_ != ForkGeneration()) return;
  // No pid is better than a stale one; that it could not be removed harms nobody.
  if (holds_pid_) static_cast<void>(ftruncate(descriptor_, 0) == 0);
  ForgetForkedDescriptor(descriptor_);
  close(descriptor_);
}

}  // namespace millrace::storage
