#pragma once

#include <cstdint>
#include <string_view>

namespace millrace::testing {

// Random numbers of a simulation: the same for a seed on every machine and with every standard
// library. SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators").
// Value.
class SimRandom {
 public:
  explicit SimRandom(uint64_t seed) : state_(seed) {}
  // A stream of its own for each name under a seed: what one draws does not move the others.
  SimRandom(uint64_t seed, std::string_view stream) : state_(seed) {
    for (const char c : stream) state_ = Mix(state_ + static_cast<unsigned char>(c));
  }

  uint64_t Next() { return Mix(state_ += 0x9e3779b97f4a7c15); }
  // In [0, limit); limit is at least 1.
  uint64_t Below(uint64_t limit) { return Next() % limit; }
  // In [least, most].
  uint64_t Between(uint64_t least, uint64_t most) { return least + Below(most - least + 1); }
  bool OneIn(uint64_t count) { return Below(count) == 0; }
  // True with this probability.
  bool Chance(double probability) {
    return static_cast<double>(Next() >> 11) < probability * static_cast<double>(1ull << 53);
  }

  static uint64_t Mix(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
  }

 private:
  uint64_t state_;
};

}  // namespace millrace::testing
