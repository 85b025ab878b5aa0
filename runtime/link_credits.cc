#include "millrace/runtime/link_credits.h"

#include "millrace/runtime/cell.h"

namespace millrace {

bool LinkCredits::TryTake() {
  if (available() == 0) {
    // Announce, then look again: the acq_rel pair with Return() leaves no gap between the two.
    starved_.exchange(true, std::memory_order_acq_rel);
    if (in_flight_.fetch_add(0, std::memory_order_acq_rel) == limit_) return false;
  }
  in_flight_.fetch_add(1, std::memory_order_acq_rel);
  return true;
}

void LinkCredits::Return() {
  in_flight_.fetch_sub(1, std::memory_order_acq_rel);
  if (starved_.exchange(false, std::memory_order_acq_rel) && sender_ != nullptr) sender_->Ring();
}

}  // namespace millrace
