#include "millrace/testing/sim_trace.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "millrace/testing/sim_random.h"

namespace millrace::testing {

std::string SimTrace::Event::ToString() const {
  const auto ns = when.nanoseconds();
  return absl::StrFormat("%6d.%09d %-12s %s %d", ns / 1'000'000'000, ns % 1'000'000'000, who,
                         std::string(what), number);
}

void SimTrace::Note(MonotonicTime when, std::string_view who, std::string_view what,
                    uint64_t number) {
  const auto add = [this](uint64_t value) { hash_ = SimRandom::Mix(hash_ + value + 1); };
  add(static_cast<uint64_t>(when.nanoseconds()));
  for (const char c : who) add(static_cast<unsigned char>(c));
  for (const char c : what) add(static_cast<unsigned char>(c));
  add(number);
  ++event_count_;
  events_.push_back({when, std::string(who), what, number});
  if (events_.size() > kept_max_) events_.pop_front();
}

std::string SimTrace::Tail(size_t count) const {
  std::string text;
  for (size_t i = events_.size() - std::min(count, events_.size()); i < events_.size(); ++i) {
    absl::StrAppend(&text, events_[i].ToString(), "\n");
  }
  return text;
}

}  // namespace millrace::testing
