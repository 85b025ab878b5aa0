// ThreadSanitizer does not see into Debian's absl::Mutex, which was compiled without it: every use
// would be reported as a race. The linker (--wrap) sends the calls of this program through the
// functions below, which tell the sanitizer what is locked. Linked into tests of the TSan build
// only. MILLRACE_ABSL is the mangled `absl::<inline namespace>`, MILLRACE_ABSL_CONST the same for
// const members.

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include <sanitizer/tsan_interface.h>

#define PASTE_3(a, b, c) a##b##c
#define EXPAND_3(a, b, c) PASTE_3(a, b, c)
#define WRAP(member) EXPAND_3(__wrap_, MILLRACE_ABSL, member)
#define REAL(member) EXPAND_3(__real_, MILLRACE_ABSL, member)
#define WRAP_CONST(member) EXPAND_3(__wrap_, MILLRACE_ABSL_CONST, member)
#define REAL_CONST(member) EXPAND_3(__real_, MILLRACE_ABSL_CONST, member)

namespace {

using absl::Condition;
using absl::CondVar;
using absl::Mutex;
using absl::Notification;

// While it lives, the sanitizer takes the mutex to be unlocked: a wait gives it up inside.
class GivenUp {
 public:
  explicit GivenUp(Mutex* mutex) : mutex_(mutex) {
    __tsan_mutex_pre_unlock(mutex_, 0);
    __tsan_mutex_post_unlock(mutex_, 0);
  }
  ~GivenUp() {
    __tsan_mutex_pre_lock(mutex_, 0);
    __tsan_mutex_post_lock(mutex_, 0, 0);
  }

 private:
  Mutex* const mutex_;
};

}  // namespace

extern "C" {

void REAL(5Mutex4LockEv)(Mutex*);
void WRAP(5Mutex4LockEv)(Mutex* self) {
  __tsan_mutex_pre_lock(self, 0);
  REAL(5Mutex4LockEv)(self);
  __tsan_mutex_post_lock(self, 0, 0);
}

void REAL(5Mutex6UnlockEv)(Mutex*);
void WRAP(5Mutex6UnlockEv)(Mutex* self) {
  __tsan_mutex_pre_unlock(self, 0);
  REAL(5Mutex6UnlockEv)(self);
  __tsan_mutex_post_unlock(self, 0);
}

bool REAL(5Mutex7TryLockEv)(Mutex*);
bool WRAP(5Mutex7TryLockEv)(Mutex* self) {
  __tsan_mutex_pre_lock(self, __tsan_mutex_try_lock);
  const bool locked = REAL(5Mutex7TryLockEv)(self);
  __tsan_mutex_post_lock(
      self, locked ? __tsan_mutex_try_lock : __tsan_mutex_try_lock | __tsan_mutex_try_lock_failed,
      0);
  return locked;
}

void REAL(5Mutex10ReaderLockEv)(Mutex*);
void WRAP(5Mutex10ReaderLockEv)(Mutex* self) {
  __tsan_mutex_pre_lock(self, __tsan_mutex_read_lock);
  REAL(5Mutex10ReaderLockEv)(self);
  __tsan_mutex_post_lock(self, __tsan_mutex_read_lock, 0);
}

void REAL(5Mutex12ReaderUnlockEv)(Mutex*);
void WRAP(5Mutex12ReaderUnlockEv)(Mutex* self) {
  __tsan_mutex_pre_unlock(self, __tsan_mutex_read_lock);
  REAL(5Mutex12ReaderUnlockEv)(self);
  __tsan_mutex_post_unlock(self, __tsan_mutex_read_lock);
}

// What a Notification is made of.
void REAL(5Mutex8LockWhenERKNS0_9ConditionE)(Mutex*, const Condition&);
void WRAP(5Mutex8LockWhenERKNS0_9ConditionE)(Mutex* self, const Condition& condition) {
  __tsan_mutex_pre_lock(self, 0);
  REAL(5Mutex8LockWhenERKNS0_9ConditionE)(self, condition);
  __tsan_mutex_post_lock(self, 0, 0);
}

bool REAL(5Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE)(Mutex*, const Condition&,
                                                                       absl::Duration);
bool WRAP(5Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE)(Mutex* self,
                                                                       const Condition& condition,
                                                                       absl::Duration timeout) {
  __tsan_mutex_pre_lock(self, 0);
  const bool met =
      REAL(5Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE)(self, condition, timeout);
  __tsan_mutex_post_lock(self, 0, 0);
  return met;
}

bool REAL(5Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE)(Mutex*, const Condition&,
                                                                    absl::Time);
bool WRAP(5Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE)(Mutex* self,
                                                                    const Condition& condition,
                                                                    absl::Time deadline) {
  __tsan_mutex_pre_lock(self, 0);
  const bool met =
      REAL(5Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE)(self, condition, deadline);
  __tsan_mutex_post_lock(self, 0, 0);
  return met;
}

void REAL(7CondVar4WaitEPNS0_5MutexE)(CondVar*, Mutex*);
void WRAP(7CondVar4WaitEPNS0_5MutexE)(CondVar* self, Mutex* mutex) {
  GivenUp given_up(mutex);
  REAL(7CondVar4WaitEPNS0_5MutexE)(self, mutex);
}

bool REAL(7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE)(CondVar*, Mutex*, absl::Duration);
bool WRAP(7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE)(CondVar* self, Mutex* mutex,
                                                                absl::Duration timeout) {
  GivenUp given_up(mutex);
  return REAL(7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE)(self, mutex, timeout);
}

bool REAL(7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE)(CondVar*, Mutex*, absl::Time);
bool WRAP(7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE)(CondVar* self, Mutex* mutex,
                                                             absl::Time deadline) {
  GivenUp given_up(mutex);
  return REAL(7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE)(self, mutex, deadline);
}

void REAL(12Notification6NotifyEv)(Notification*);
void WRAP(12Notification6NotifyEv)(Notification* self) {
  __tsan_release(self);
  REAL(12Notification6NotifyEv)(self);
}

void REAL_CONST(12Notification19WaitForNotificationEv)(const Notification*);
void WRAP_CONST(12Notification19WaitForNotificationEv)(const Notification* self) {
  REAL_CONST(12Notification19WaitForNotificationEv)(self);
  __tsan_acquire(const_cast<Notification*>(self));
}

bool REAL_CONST(12Notification30WaitForNotificationWithTimeoutENS0_8DurationE)(const Notification*,
                                                                               absl::Duration);
bool WRAP_CONST(12Notification30WaitForNotificationWithTimeoutENS0_8DurationE)(
    const Notification* self, absl::Duration timeout) {
  const bool notified =
      REAL_CONST(12Notification30WaitForNotificationWithTimeoutENS0_8DurationE)(self, timeout);
  if (notified) __tsan_acquire(const_cast<Notification*>(self));
  return notified;
}

bool REAL_CONST(12Notification31WaitForNotificationWithDeadlineENS0_4TimeE)(const Notification*,
                                                                            absl::Time);
bool WRAP_CONST(12Notification31WaitForNotificationWithDeadlineENS0_4TimeE)(
    const Notification* self, absl::Time deadline) {
  const bool notified =
      REAL_CONST(12Notification31WaitForNotificationWithDeadlineENS0_4TimeE)(self, deadline);
  if (notified) __tsan_acquire(const_cast<Notification*>(self));
  return notified;
}

}  // extern "C"

// glog asks for the time zone without a lock, in glibc's tzset. Nothing of ours is named here.
// Weak: the one test that runs on moodycamel has a list of its own.
extern "C" __attribute__((weak)) const char* __tsan_default_suppressions() {  // NOLINT
  return "race:tzset_internal\n";
}
