#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace millrace {

// What is wrong with the engine, for status and for the reason that waiting clients are given. A
// trouble that passes (a full disk) is cleared; a final one keeps its first cause. Thread-safe.
class Health {
 public:
  // OK, or the first final cause, or why the engine is Degraded, or the trouble of the moment.
  absl::Status status() const {
    absl::MutexLock lock(&mutex_);
    return !final_.ok() ? final_ : !degraded_.ok() ? degraded_ : trouble_;
  }
  // OK, or why flushes are not tried again before a probe or Resume().
  absl::Status degraded() const {
    absl::MutexLock lock(&mutex_);
    return degraded_;
  }
  // OK, or the first final cause.
  absl::Status final_cause() const {
    absl::MutexLock lock(&mutex_);
    return final_;
  }
  // OK clears it.
  void SetTrouble(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    trouble_ = std::move(status);
  }
  // OK ends it.
  void SetDegraded(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    degraded_ = std::move(status);
  }
  void Fail(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    if (final_.ok()) final_ = std::move(status);
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Status trouble_ ABSL_GUARDED_BY(mutex_);
  absl::Status degraded_ ABSL_GUARDED_BY(mutex_);
  absl::Status final_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace millrace
