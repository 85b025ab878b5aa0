#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

namespace millrace {

// A file to read from, or standard input. Move-only; thread-compatible.
class Input {
 public:
  // "-" is standard input. Fails with the reason and the path.
  static absl::StatusOr<Input> Open(std::string_view path);

  Input(Input&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), bytes_total_(other.bytes_total_) {}
  Input& operator=(Input&&) = delete;
  ~Input();

  int descriptor() const { return descriptor_; }
  // The size of a regular file; 0 where it is not known.
  uint64_t bytes_total() const { return bytes_total_; }

  // All of it. InvalidArgument if there are more than `bytes_max` bytes.
  absl::StatusOr<std::string> ReadAll(size_t bytes_max) const;

 private:
  Input(int descriptor, uint64_t bytes_total)
      : descriptor_(descriptor), bytes_total_(bytes_total) {}

  int descriptor_;
  uint64_t bytes_total_;
};

}  // namespace millrace
