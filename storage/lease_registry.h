#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "millrace/storage/lease.h"

namespace millrace::storage {

// Value. One lease as it stood when it was looked at.
struct LeaseInfo {
  uint64_t id = 0;  // Counts up from 1 in a registry.
  std::string owner;
  absl::Duration age;
  uint64_t retained_bytes = 0;
};

// The leases of one store that live: what status lists, what grows too old, what can be ended when
// memory is short. All times come from one clock, the caller's; it should not jump. Leases end
// before their registry does. Thread-safe.
class LeaseRegistry {
 public:
  struct Options {
    // Past it a lease is reported, once.
    absl::Duration soft_age = absl::Minutes(1);
    // Past it a lease is ended.
    absl::Duration hard_age = absl::Minutes(10);
  };
  explicit LeaseRegistry(const Options& options) : options_(options) {}
  ~LeaseRegistry();
  LeaseRegistry(const LeaseRegistry&) = delete;
  LeaseRegistry& operator=(const LeaseRegistry&) = delete;

  // Registers `holdings`. `owner` is a tag for people. Cancelled after Close().
  absl::StatusOr<Lease> Take(std::string owner, std::unique_ptr<LeaseHoldings> holdings,
                             absl::Time now);

  // Of all that live and were not ended, oldest first.
  std::vector<LeaseInfo> List(absl::Time now) const;

  // What came of looking at ages.
  struct AgeReport {
    std::vector<LeaseInfo> overdue;  // Passed the soft age since the last look.
    std::vector<LeaseInfo> ended;    // Passed the hard age and were ended.
  };
  AgeReport EndOverAge(absl::Time now);

  // Ends leases that retain something, oldest first, until those ended retained `wanted_bytes`.
  // Returns them; what a call in progress holds is freed when that call ends.
  std::vector<LeaseInfo> EndOldest(uint64_t wanted_bytes, absl::Time now);

  // Ends all leases and takes no further ones. Waits for calls in progress: when it returns,
  // nothing that a lease held is left.
  void Close();

 private:
  friend class Lease;
  friend class LeaseCall;
  // Holdings to be destroyed outside the mutex: declared before the lock is taken.
  class Freed;

  LeaseInfo Describe(const Lease::State& state, absl::Time now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Marks the lease; what nobody works with moves to `freed`, to be destroyed outside the mutex.
  void End(Lease::State& state, LeaseEnd reason, Freed& freed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The last call in progress of an ended lease has left.
  void FreeAfterCall(Lease::State& state);
  void Forget(Lease::State* state);
  void Destroyed(size_t count);

  const Options options_;
  mutable absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  size_t held_count_ ABSL_GUARDED_BY(mutex_) = 0;  // Holdings that are not destroyed yet.
  absl::CondVar all_freed_;
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  // A list of all leases that live, in the order they were taken.
  Lease::State* oldest_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Lease::State* newest_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace millrace::storage
