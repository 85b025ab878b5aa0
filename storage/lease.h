#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace millrace::storage {

class LeaseRegistry;

// What a snapshot keeps from being freed: a read transaction, L0 buffers. Its destruction frees it,
// on whatever thread ends the lease. Thread-compatible.
class LeaseHoldings {
 public:
  virtual ~LeaseHoldings() = default;
  // Bytes of L0 that would be freed if this snapshot ended. Called from any thread while the
  // holder works with it.
  virtual uint64_t RetainedBytes() const = 0;
};

enum class LeaseEnd : uint8_t {
  kNone,     // It lives.
  kTooOld,   // Past the hard age.
  kNoSpace,  // Commits waited for buffers that it retained.
  kStopped,  // The store closes.
};

// A registered holding that may be ended from outside. Its holder touches the holdings only inside
// a LeaseCall; between calls the registry may end it and free them at once, during one it only
// marks it, and whoever leaves last frees them. Two atomic operations a call, no lock; calls may be
// made on several threads at a time. Move-only. Thread-safe, but for moving and destruction.
class Lease {
 public:
  Lease(Lease&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Lease& operator=(Lease&& other) noexcept;
  // No call may be in progress. Frees the holdings.
  ~Lease();

  // Whether the lease was ended, for a running call to look at between rows: then it should give up
  // with EndedStatus(). One load.
  bool ended() const;
  // Aborted (Cancelled where the store closes), naming the lease, its owner and the reason. Only if
  // it has ended.
  absl::Status EndedStatus() const;

 private:
  friend class LeaseCall;
  friend class LeaseRegistry;
  struct State;
  explicit Lease(State* state) : state_(state) {}

  State* state_;  // Null once moved from.
};

// One call of the holder: while it lives and status() is OK, the holdings are there. Lives on the
// stack, shorter than the lease. Thread-compatible.
class LeaseCall {
 public:
  explicit LeaseCall(const Lease& lease);
  ~LeaseCall();
  LeaseCall(const LeaseCall&) = delete;
  LeaseCall& operator=(const LeaseCall&) = delete;

  // OK, or Lease::EndedStatus().
  absl::Status status() const;
  bool ok() const { return entered_; }

 private:
  const Lease& lease_;
  bool entered_;
};

}  // namespace millrace::storage
