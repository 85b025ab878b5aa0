#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"

namespace millrace::storage {

// Whether two sides hold the same keys, each in an order of its own, without keeping them: each key
// is added to one of many sums by the one side and taken away by the other. Where the sums are not
// 0, both sides are gone through once more, and only what falls into those sums is kept and named.
// Owned by one thread.
class KeyLedger {
 public:
  KeyLedger() : sums_(kSumCount, 0) {}

  void Expect(std::string_view key) { Add(key, 1); }
  void Found(std::string_view key) { Add(key, -1); }

  // Whether both sides were the same.
  bool balanced() const;
  // Whether the key may be what makes the difference.
  bool IsSuspect(std::string_view key) const;
  // Both sides follow once more.
  void BeginNaming() { naming_ = true; }
  // Meanwhile: whether, so far, a key is one side's only; or one that begins so.
  bool IsDifference(std::string_view key) const { return differences_.count(key) != 0; }
  bool HasDifference(std::string_view prefix) const;
  // Behind that, in the order of the keys: each that only one side has.
  void ForEachDifference(absl::FunctionRef<void(std::string_view key, bool missing)> each) const;

 private:
  static constexpr size_t kSumCount = size_t{1} << 16;

  void Add(std::string_view key, int count);

  std::vector<uint64_t> sums_;
  bool naming_ = false;
  std::map<std::string, int, std::less<>> differences_;
};

}  // namespace millrace::storage
