#include "millrace/tools/input.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace millrace {

absl::StatusOr<Input> Input::Open(std::string_view path) {
  const std::string name(path);
  int descriptor = STDIN_FILENO;
  if (name != "-") {
    descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", name));
  }
  Input input(descriptor, 0);
  struct stat info;
  if (::fstat(descriptor, &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("look at ", name));
  }
  if (S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat("read ", name, ": it is a directory"));
  }
  if (S_ISREG(info.st_mode)) input.bytes_total_ = static_cast<uint64_t>(info.st_size);
  return input;
}

Input::~Input() {
  if (descriptor_ > STDIN_FILENO) ::close(descriptor_);
}

absl::StatusOr<std::string> Input::ReadAll(size_t bytes_max) const {
  constexpr size_t kReadBytes = size_t{1} << 16;
  std::string text;
  for (;;) {
    const size_t size = text.size();
    if (size > bytes_max) {
      return absl::InvalidArgumentError(
          absl::StrCat("the input is longer than ", bytes_max, " bytes"));
    }
    text.resize(size + kReadBytes);
    const ssize_t count = ::read(descriptor_, text.data() + size, kReadBytes);
    text.resize(size + static_cast<size_t>(count > 0 ? count : 0));
    if (count == 0) return text;
    if (count < 0 && errno != EINTR) return absl::ErrnoToStatus(errno, "read the input");
  }
}

}  // namespace millrace
