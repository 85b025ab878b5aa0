#pragma once

#include <algorithm>
#include <cstddef>

#include "absl/time/time.h"

namespace millrace {

// How many rows to take at a time so that they take about a given time: follows what the batches
// before took, at most doubling or halving. Value.
class AdaptiveBatch {
 public:
  static constexpr size_t kRowsFirst = 5'000;
  static constexpr size_t kRowsMin = 100;
  static constexpr size_t kRowsMax = 50'000;

  explicit AdaptiveBatch(absl::Duration target) : target_(target) {}

  size_t rows() const { return rows_; }
  // A batch of `rows` took `time`. One that was cut short says nothing of larger ones.
  void Took(size_t rows, absl::Duration time) {
    if (rows == 0) return;
    const double factor = time <= absl::ZeroDuration()
                              ? 2.0
                              : std::clamp(absl::FDivDuration(target_, time), 0.5, 2.0);
    const auto wanted = static_cast<size_t>(static_cast<double>(rows) * factor);
    if (rows < rows_ && wanted > rows) return;
    rows_ = std::clamp(wanted, kRowsMin, kRowsMax);
  }

 private:
  const absl::Duration target_;
  size_t rows_ = kRowsFirst;
};

}  // namespace millrace
