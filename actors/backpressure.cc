#include "millrace/actors/backpressure.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "millrace/messages/error.h"

namespace millrace {
namespace {

constexpr absl::Duration kDelayFirst = absl::Milliseconds(10);
constexpr absl::Duration kDelayMax = absl::Seconds(1);

}  // namespace

void Backpressure::Park(Parked parked) {
  absl::Status refusal;
  {
    absl::MutexLock lock(&mutex_);
    const size_t bytes = parked.commit.batch.bytes();
    if (!closed_.ok()) {
      refusal = closed_;
    } else if (parked_.size() >= limits_.parked_count_max ||
               parked_bytes_ + bytes > limits_.parked_bytes_max) {
      refusal = absl::ResourceExhaustedError(absl::StrCat(
          parked_.size(), " commits (", parked_bytes_, " bytes) wait already because L0 holds ",
          l0_bytes(), " bytes that are not flushed yet; slow down and try again"));
    } else {
      parked_bytes_ += bytes;
      parked_.push_back(std::move(parked));
      parked_count_.store(parked_.size(), std::memory_order_release);
      return;
    }
  }
  parked.reply.Send(WithOutcome(std::move(refusal), Outcome::kNotExecuted));
}

// The delay grows while commits keep coming in past the soft limit, and is forgotten below it.
std::optional<Backpressure::Parked> Backpressure::Take(MonotonicTime now) {
  absl::MutexLock lock(&mutex_);
  if (parked_.empty() || PastHardLimit(parked_.front().commit.batch.adds_rows())) {
    return std::nullopt;
  }
  if (PastSoftLimit()) {
    if (now < next_admission_) return std::nullopt;
    delay_ = delay_ == absl::ZeroDuration() ? kDelayFirst : std::min(2 * delay_, kDelayMax);
    next_admission_ = now + delay_;
  } else {
    delay_ = absl::ZeroDuration();
    next_admission_ = now;
  }
  Parked parked = std::move(parked_.front());
  parked_.pop_front();
  parked_bytes_ -= parked.commit.batch.bytes();
  // Pairs with the acquire in Open(): whoever sees 0 sends behind what the Committer has taken.
  parked_count_.store(parked_.size(), std::memory_order_release);
  return parked;
}

void Backpressure::Expire(MonotonicTime now, const absl::Status& reason) {
  std::vector<Parked> expired;
  {
    absl::MutexLock lock(&mutex_);
    const auto late = std::stable_partition(parked_.begin(), parked_.end(),
                                            [now](const Parked& p) { return now < p.deadline; });
    for (auto it = late; it != parked_.end(); ++it) {
      parked_bytes_ -= it->commit.batch.bytes();
      expired.push_back(std::move(*it));
    }
    parked_.erase(late, parked_.end());
    parked_count_.store(parked_.size(), std::memory_order_release);
  }
  for (Parked& parked : expired) {
    std::string message =
        absl::StrCat("the commit waited until its deadline: L0 holds ", l0_bytes(),
                     " bytes that are not flushed yet, the limit is ", limits_.hard_bytes_max);
    if (!reason.ok()) absl::StrAppend(&message, "; flushes fail: ", reason.message());
    parked.reply.Send(WithOutcome(absl::ResourceExhaustedError(message), Outcome::kNotExecuted));
  }
}

MonotonicTime Backpressure::NextWake() const {
  absl::MutexLock lock(&mutex_);
  if (parked_.empty()) return MonotonicTime::Infinite();
  MonotonicTime wake = MonotonicTime::Infinite();
  for (const Parked& parked : parked_) wake = std::min(wake, parked.deadline);
  if (!PastHardLimit(parked_.front().commit.batch.adds_rows()))
    wake = std::min(wake, next_admission_);
  return wake;
}

void Backpressure::Close(const absl::Status& cause) {
  std::deque<Parked> cancelled;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = cause;
    cancelled.swap(parked_);
    parked_bytes_ = 0;
    parked_count_.store(0, std::memory_order_release);
  }
  for (Parked& parked : cancelled) {
    parked.reply.Send(WithOutcome(cause, Outcome::kNotExecuted));
  }
}

}  // namespace millrace
