#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "tests/simulation/explorer.h"

#include "millrace/runtime/clock.h"

namespace millrace::testing {

// The kernel's atomics and futexes under the explorer: the real code runs with them, and others may
// go first before each operation. A word that is used after its end is a failure, so its memory
// must stay until the run is over. kBroken: what should be one step is a load and a store.
template <bool kBroken>
struct ModelSync {
  template <typename T>
  class Atom {
   public:
    Atom(T value) : value_(value) {}  // NOLINT(google-explicit-constructor): as std::atomic.
    ~Atom() { alive_ = false; }
    T load(std::memory_order) const { return Step(), value_; }
    void store(T value, std::memory_order) { Step(), value_ = value; }
    T fetch_add(T by, std::memory_order) {
      return Change([by](T v) { return v + by; });
    }
    T fetch_sub(T by, std::memory_order) {
      return Change([by](T v) { return v - by; });
    }
    T fetch_or(T bits, std::memory_order) {
      return Change([bits](T v) { return v | bits; });
    }
    T fetch_and(T bits, std::memory_order) {
      return Change([bits](T v) { return v & bits; });
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order,
                               std::memory_order = std::memory_order_relaxed) {
      Step();
      if (value_ != expected) return expected = value_, false;
      if (kBroken) Step();
      value_ = desired;
      return true;
    }
    T now() const { return value_; }

   private:
    void Step() const {
      Explorer::Point();
      if (!alive_) Explorer::Fail("a word is used after its end");
    }
    template <typename F>
    T Change(F change) {
      Step();
      const T before = value_;
      if (kBroken) Step();
      value_ = static_cast<T>(change(before));
      return before;
    }
    T value_;
    volatile bool alive_ = true;  // Volatile: looked at after the end.
  };

  template <typename T>
  static void Wait(const Atom<T>& word, T expected, MonotonicTime) {
    Explorer::Point();
    if (static_cast<uint32_t>(word.now()) == static_cast<uint32_t>(expected)) {
      Explorer::Sleep(&word);
    }
  }
  static void WakeOne(const void* word) { Explorer::Point(), Explorer::Wake(word, false); }
  static void WakeAll(const void* word) { Explorer::Point(), Explorer::Wake(word, true); }
};

}  // namespace millrace::testing
