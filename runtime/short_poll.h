#pragma once

#include <cstdint>

#include "millrace/runtime/futex.h"

namespace millrace {

// Looks at a word a bounded number of times before its thread sleeps on it: between two running
// threads that saves both futex calls and a factor of 8. Where the other side is not running (more
// threads than cores, a device to wait for) each look is time stolen from it; so after a few polls
// in vain only one in 16 is tried. Owned by the thread that polls.
class ShortPoll {
 public:
  // True once `ready` is.
  template <typename F>
  bool Try(F&& ready) {
    if (ready()) return true;
    if (in_vain_ >= kPatience && ++skipped_ % kRetryInterval != 0) return false;
    for (int i = 0; i < kLooks; ++i) {
      SystemSync::Pause();
      if (ready()) {
        in_vain_ = 0;
        return true;
      }
    }
    if (in_vain_ < kPatience) ++in_vain_;
    return false;
  }

 private:
  static constexpr int kLooks = 50;
  static constexpr uint32_t kPatience = 4;
  static constexpr uint32_t kRetryInterval = 16;

  uint32_t in_vain_ = 0;
  uint32_t skipped_ = 0;
};

}  // namespace millrace
