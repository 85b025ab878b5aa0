#include "millrace/runtime/delivery_ring.h"

#include <unistd.h>

#include <algorithm>

namespace millrace {
namespace {

// A line on the stack, cut where it does not fit.
class Line {
 public:
  void Add(std::string_view text) {
    const size_t room = std::min(text.size(), sizeof(text_) - size_);
    std::copy_n(text.data(), room, text_ + size_);
    size_ += room;
  }
  void Add(uint64_t number) {
    char digits[20];
    size_t at = sizeof(digits);
    do {
      digits[--at] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number > 0);
    Add(std::string_view(digits + at, sizeof(digits) - at));
  }
  void WriteTo(int fd) const {
    size_t done = 0;
    while (done < size_) {
      const ssize_t n = write(fd, text_ + done, size_ - done);
      if (n <= 0) return;
      done += static_cast<size_t>(n);
    }
  }

 private:
  char text_[256];
  size_t size_ = 0;
};

}  // namespace

void DeliveryRing::Dump(int fd, std::string_view actor, const std::string_view* names,
                        size_t name_count) const {
  const uint64_t end = next_.load(std::memory_order_relaxed);
  for (uint64_t n = end > kSize ? end - kSize : 0; n < end; ++n) {
    const Entry& entry = entries_[n % kSize];
    const uint64_t what = entry.what.load(std::memory_order_relaxed);
    const auto message = static_cast<uint32_t>(what);
    Line line;
    line.Add(actor);
    line.Add(" #");
    line.Add(n);
    line.Add(" at_ns=");
    line.Add(static_cast<uint64_t>(entry.time_ns.load(std::memory_order_relaxed)));
    line.Add(" life=");
    line.Add(what >> 32);
    line.Add(" ");
    line.Add(message < name_count ? names[message] : std::string_view("?"));
    line.Add("\n");
    line.WriteTo(fd);
  }
}

}  // namespace millrace
