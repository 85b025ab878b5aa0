#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

namespace millrace {

// The other queue that can lie under a mailbox: one lock, two vectors that swap. In total order of
// arrival, so it is the oracle of the mailbox's tests; and TSan understands it. Push is
// thread-safe, Pop is for the one consumer.
template <typename E>
class MutexQueue {
  // std::mutex where all else uses absl::Mutex: Debian's looks for deadlock cycles at each Lock(),
  // which halves the rate (bench/mailbox_bench). Thread-safe.
  class ABSL_LOCKABLE Mutex {
   public:
    void Acquire() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
    void Release() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

   private:
    std::mutex mutex_;
  };
  class ABSL_SCOPED_LOCKABLE Lock {
   public:
    explicit Lock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
      mutex_.Acquire();
    }
    ~Lock() ABSL_UNLOCK_FUNCTION() { mutex_.Release(); }

   private:
    Mutex& mutex_;
  };

 public:
  // A sender's own end; here all share one.
  class Producer {
   public:
    explicit Producer(MutexQueue&) {}
  };

  explicit MutexQueue(size_t capacity_hint) { filling_.reserve(capacity_hint); }

  // False, and the element untouched, if there is no memory.
  bool Push(E&& element) {
    Lock lock(mutex_);
    return PushLocked(std::move(element));
  }
  bool Push(Producer&, E&& element) { return Push(std::move(element)); }
  // The first `count` elements from `first` on, moved from; all or nothing.
  bool PushBulk(Producer&, E* first, size_t count) {
    Lock lock(mutex_);
    const size_t before = filling_.size();
    try {
      filling_.reserve(before + count);
    } catch (const std::bad_alloc&) {
      return false;
    }
    for (size_t i = 0; i < count; ++i) filling_.push_back(std::move(first[i]));
    filled_.store(true, std::memory_order_relaxed);
    return true;
  }

  // Constructs up to `max` elements at `out`; returns how many.
  size_t Pop(E* out, size_t max) {
    if (next_ == emptying_.size()) {
      // Relaxed: who pushes publishes behind it, by a word that the consumer changes before the
      // look that must not miss it.
      if (!filled_.load(std::memory_order_relaxed)) return 0;
      emptying_.clear();
      next_ = 0;
      Lock lock(mutex_);
      emptying_.swap(filling_);
      filled_.store(false, std::memory_order_relaxed);
    }
    size_t count = 0;
    for (; count < max && next_ < emptying_.size(); ++count, ++next_) {
      new (out + count) E(std::move(emptying_[next_]));
    }
    return count;
  }

 private:
  bool PushLocked(E&& element) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    try {
      filling_.push_back(std::move(element));
    } catch (const std::bad_alloc&) {
      return false;
    }
    filled_.store(true, std::memory_order_relaxed);
    return true;
  }

  Mutex mutex_;
  std::atomic<bool> filled_{false};  // Changed under the mutex.
  std::vector<E> filling_ ABSL_GUARDED_BY(mutex_);
  // Touched only by the consumer.
  std::vector<E> emptying_;
  size_t next_ = 0;
};

}  // namespace millrace
