#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace millrace::storage {

// One file that this process has open as an LMDB database. LMDB must never open a file twice in a
// process: closing one of the two would drop the locks of the other. Files are told apart by
// (device, inode), so that links and other spellings of a path are found out. Move-only.
// Thread-safe.
class InodeRegistration {
 public:
  // Unavailable, naming this process, while another registration of the same file lives; NotFound
  // and the like if the file cannot be examined.
  static absl::StatusOr<InodeRegistration> Register(const std::string& path);

  InodeRegistration(InodeRegistration&& other) noexcept
      : device_(other.device_), inode_(std::exchange(other.inode_, 0)) {}
  InodeRegistration& operator=(InodeRegistration&&) = delete;
  ~InodeRegistration();

 private:
  InodeRegistration(dev_t device, ino_t inode) : device_(device), inode_(inode) {}

  dev_t device_;
  ino_t inode_;  // 0 = moved from.
};

}  // namespace millrace::storage
