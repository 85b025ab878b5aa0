#pragma once

#include <atomic>
#include <cstdint>

namespace millrace {

class Cell;

// Slots that one actor holds in another's mailbox. Taken by the sender's thread, returned by any.
// Thread-safe.
class LinkCredits {
 public:
  // `sender` is rung when a credit comes back that it was refused before; may be null.
  LinkCredits(uint32_t limit, Cell* sender) : limit_(limit), sender_(sender) {}

  uint32_t available() const { return limit_ - in_flight_.load(std::memory_order_acquire); }
  bool TryTake();
  void Return();

 private:
  const uint32_t limit_;
  Cell* const sender_;
  std::atomic<uint32_t> in_flight_{0};
  std::atomic<bool> starved_{false};
};

}  // namespace millrace
