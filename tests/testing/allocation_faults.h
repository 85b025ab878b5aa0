#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace millrace::testing {

// Lets `new` of the thread that made it throw std::bad_alloc, until it is destroyed; other threads,
// and memory that is not from `new`, are left alone. One at a time and thread. Whoever uses it
// links allocation_faults.cc, which replaces the program's operator new. Thread-compatible.
class AllocationFaults {
 public:
  struct Which {
    int64_t nth = 1;  // The first that fails, counted from 1, of those of this size.
    int64_t count = 1;
    size_t bytes_min = 0;
    size_t bytes_max = std::numeric_limits<size_t>::max();
  };

  explicit AllocationFaults(const Which& which);
  ~AllocationFaults();
  AllocationFaults(const AllocationFaults&) = delete;
  AllocationFaults& operator=(const AllocationFaults&) = delete;

  bool struck() const;
};

}  // namespace millrace::testing
