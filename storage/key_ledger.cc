#include "millrace/storage/key_ledger.h"

#include <algorithm>

#include "xxhash.h"

namespace millrace::storage {

void KeyLedger::Add(std::string_view key, int count) {
  const uint64_t hash = XXH3_64bits(key.data(), key.size());
  uint64_t& sum = sums_[hash % kSumCount];
  if (!naming_) {
    // The bits that choose the sum say nothing within it.
    const uint64_t weight = hash / kSumCount + 1;
    sum += count > 0 ? weight : ~weight + 1;
  } else if (sum != 0) {
    const auto difference = differences_.try_emplace(std::string(key), 0).first;
    difference->second += count;
    if (difference->second == 0) differences_.erase(difference);
  }
}

bool KeyLedger::IsSuspect(std::string_view key) const {
  return sums_[XXH3_64bits(key.data(), key.size()) % kSumCount] != 0;
}

bool KeyLedger::balanced() const {
  return std::all_of(sums_.begin(), sums_.end(), [](uint64_t sum) { return sum == 0; });
}

bool KeyLedger::HasDifference(std::string_view prefix) const {
  const auto difference = differences_.lower_bound(prefix);
  return difference != differences_.end() && difference->first.starts_with(prefix);
}

void KeyLedger::ForEachDifference(
    absl::FunctionRef<void(std::string_view key, bool missing)> each) const {
  for (const auto& [key, count] : differences_) each(key, count > 0);
}

}  // namespace millrace::storage
