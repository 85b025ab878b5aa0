#include "millrace/tools/line_reader.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <poll.h>

namespace millrace {
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;

}  // namespace

LineReader::LineReader(int descriptor, size_t line_bytes_max)
    : descriptor_(descriptor), line_bytes_max_(line_bytes_max) {
}

LineReader::Result LineReader::Next(std::string_view* line) {
  size_t scanned = 0;
  for (;;) {
    const char* const from = buffer_.data() + begin_;
    const void* const newline = std::memchr(from + scanned, '\n', end_ - begin_ - scanned);
    if (newline != nullptr) {
      *line = std::string_view(from, static_cast<const char*>(newline) - from);
      begin_ += line->size() + 1;
      bytes_consumed_ += line->size() + 1;
      ++line_number_;
      return line->size() > line_bytes_max_ ? Result::kTooLong : Result::kLine;
    }
    scanned = end_ - begin_;
    if (scanned > line_bytes_max_) return SkipLine();
    if (!Fill()) break;
  }
  if (scanned == 0 || !status_.ok()) return Result::kEnd;
  *line = std::string_view(buffer_.data() + begin_, scanned);
  begin_ = end_;
  bytes_consumed_ += scanned;
  ++line_number_;
  return Result::kLine;
}

bool LineReader::MustWait() const {
  if (std::memchr(buffer_.data() + begin_, '\n', end_ - begin_) != nullptr) return false;
  pollfd input = {.fd = descriptor_, .events = POLLIN, .revents = 0};
  return ::poll(&input, 1, 0) == 0;
}

LineReader::Result LineReader::SkipLine() {
  ++line_number_;
  for (;;) {
    const char* const from = buffer_.data() + begin_;
    const void* const newline = std::memchr(from, '\n', end_ - begin_);
    const size_t size =
        newline != nullptr ? static_cast<const char*>(newline) - from + 1 : end_ - begin_;
    begin_ += size;
    bytes_consumed_ += size;
    if (newline != nullptr || !Fill()) return Result::kTooLong;
  }
}

bool LineReader::Fill() {
  if (!status_.ok()) return false;
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (buffer_.size() - end_ < kReadBytes) buffer_.resize(end_ + kReadBytes);
  ssize_t count;
  do {
    count = ::read(descriptor_, buffer_.data() + end_, buffer_.size() - end_);
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    status_ = absl::ErrnoToStatus(errno, "read the input");
    return false;
  }
  end_ += static_cast<size_t>(count);
  return count > 0;
}

}  // namespace millrace
