#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace millrace {

// The last 256 deliveries of one actor, for the time when the process has died. The actor's thread
// records; any thread, a signal handler included, dumps. Thread-safe.
class DeliveryRing {
 public:
  static constexpr size_t kSize = 256;

  // `message` is the index of its type, `time_ns` the time of its batch.
  void Record(uint32_t message, int64_t time_ns, uint32_t incarnation) {
    const uint64_t n = next_.load(std::memory_order_relaxed);
    Entry& entry = entries_[n % kSize];
    // Relaxed: one writer; a dump that races with it shows an entry half old.
    entry.time_ns.store(time_ns, std::memory_order_relaxed);
    entry.what.store(uint64_t{incarnation} << 32 | message, std::memory_order_relaxed);
    next_.store(n + 1, std::memory_order_relaxed);
  }

  // Writes one line per delivery, oldest first, with write(2) alone: no allocation, no lock.
  // `names` is indexed by message type.
  void Dump(int fd, std::string_view actor, const std::string_view* names, size_t name_count) const;

 private:
  struct Entry {
    std::atomic<int64_t> time_ns{0};
    std::atomic<uint64_t> what{0};
  };
  std::array<Entry, kSize> entries_;
  std::atomic<uint64_t> next_{0};
};

}  // namespace millrace
