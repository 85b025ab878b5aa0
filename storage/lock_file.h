#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace millrace::storage {

// An exclusively locked file that holds the pid of its owner as text. The lock is the kernel's: it
// ends with the owner, however that ends. Closing empties the file and leaves it in place.
// Move-only. Thread-compatible.
class LockFile {
 public:
  // Creates the file if need be. Unavailable if another holder has it, this process included: the
  // message names the owner's pid, and so does the payload "millrace/owner-pid" (decimal text).
  static absl::StatusOr<LockFile> Acquire(const std::string& path);
  // Keeps others from acquiring it, but not from reading, too, and changes nothing. NotFound if
  // there is no such file; Unavailable as above.
  static absl::StatusOr<LockFile> AcquireForReading(const std::string& path);

  LockFile(LockFile&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)),
        fork_generation_(other.fork_generation_),
        holds_pid_(other.holds_pid_) {}
  LockFile& operator=(LockFile&&) = delete;
  ~LockFile();

 private:
  LockFile(int descriptor, bool holds_pid);

  int descriptor_;
  uint32_t fork_generation_;
  bool holds_pid_;
};

// Unavailable: `path` is held by the process `pid` (0 = unknown), with the payload.
absl::Status HeldByProcess(const std::string& path, int pid);

}  // namespace millrace::storage
