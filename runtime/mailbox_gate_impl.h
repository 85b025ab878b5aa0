#pragma once

#include <cassert>

#include "millrace/runtime/mailbox_gate.h"
#include "millrace/runtime/reply_cell.h"

namespace millrace {

template <typename Sync>
bool MailboxGate<Sync>::TakeBytes(uint64_t bytes) {
  uint64_t now = bytes_.load(std::memory_order_relaxed);
  do {
    if (bytes > limits_.data_bytes_max || now > limits_.data_bytes_max - bytes) return false;
    // Acquire pairs with the release in GiveBackBytes().
  } while (!bytes_.compare_exchange_weak(now, now + bytes, std::memory_order_acq_rel,
                                         std::memory_order_relaxed));
  return true;
}

template <typename Sync>
void MailboxGate<Sync>::GiveBackBytes(uint64_t bytes) {
  bytes_.fetch_sub(bytes, std::memory_order_acq_rel);
}

template <typename Sync>
Admission MailboxGate<Sync>::Refuse(Admission why) {
  auto& counter = why == Admission::kFull ? rejected_full_ : rejected_closed_;
  counter.fetch_add(1, std::memory_order_relaxed);
  return why;
}

template <typename Sync>
Admission MailboxGate<Sync>::TryAdmit(Slot slot, uint64_t bytes, uint32_t count, bool even_closed) {
  const Admission admission = Attempt(slot, bytes, count, even_closed);
  return admission == Admission::kAdmitted ? admission : Refuse(admission);
}

template <typename Sync>
Admission MailboxGate<Sync>::Attempt(Slot slot, uint64_t bytes, uint32_t count, bool even_closed) {
  const bool bounded = slot != Slot::kReserved;
  const uint64_t refusing = even_closed ? kFinished : kClosed | kFinished;
  const auto judge = [&](uint64_t gate) {
    if ((gate & refusing) != 0) return Admission::kClosed;
    return bounded && CountOf(gate, slot) + count > LimitOf(slot) ? Admission::kFull
                                                                  : Admission::kAdmitted;
  };
  // Who would be refused for a slot takes no bytes first: giving them back wakes those who wait,
  // itself included.
  uint64_t gate = gate_.load(std::memory_order_relaxed);
  Admission admission = judge(gate);
  if (admission != Admission::kAdmitted) return admission;
  if (bytes > 0 && bounded && !TakeBytes(bytes)) {
    return closed() ? Admission::kClosed : Admission::kFull;
  }
  // acq_rel: pairs with Close() and Release(), which change the same word.
  while (!gate_.compare_exchange_weak(gate, gate + count * OneOf(slot), std::memory_order_acq_rel,
                                      std::memory_order_relaxed)) {
    admission = judge(gate);
    if (admission != Admission::kAdmitted) break;
  }
  if (admission != Admission::kAdmitted && bytes > 0 && bounded) {
    GiveBackBytes(bytes);
    // Someone may have been refused for the bytes we held in passing.
    if ((gate_.load(std::memory_order_acquire) & kSpaceWanted) != 0) WakeSenders();
  }
  return admission;
}

template <typename Sync>
Admission MailboxGate<Sync>::AdmitUntil(Slot slot, uint64_t bytes, MonotonicTime deadline) {
  assert(!OnActorThread() && "an actor never waits for room in a mailbox");
  for (;;) {
    // Acquire pairs with WakeSenders(): room made before is seen behind it.
    const uint32_t epoch = space_epoch_.load(std::memory_order_acquire);
    Admission admission = Attempt(slot, bytes, 1, false);
    if (admission == Admission::kAdmitted) return admission;
    if (admission == Admission::kClosed) return Refuse(admission);
    // Ask for a wake-up, then look again: room made before the request was not announced.
    gate_.fetch_or(kSpaceWanted, std::memory_order_acq_rel);
    admission = Attempt(slot, bytes, 1, false);
    if (admission == Admission::kAdmitted) return admission;
    if (admission == Admission::kClosed || bytes > limits_.data_bytes_max) return Refuse(admission);
    if (deadline != MonotonicTime::Infinite() && WaitNow() >= deadline) {
      return Refuse(Admission::kFull);
    }
    // Acquire as above.
    const auto changed = [&] { return space_epoch_.load(std::memory_order_acquire) != epoch; };
    if (!DriveWait(changed, deadline, "room in a mailbox")) {
      Sync::Wait(space_epoch_, epoch, deadline);
    }
  }
}

template <typename Sync>
void MailboxGate<Sync>::WakeSenders() {
  gate_.fetch_and(~kSpaceWanted, std::memory_order_acq_rel);
  space_epoch_.fetch_add(1, std::memory_order_acq_rel);
  Sync::WakeAll(&space_epoch_);
}

template <typename Sync>
void MailboxGate<Sync>::Undo(Slot slot, uint64_t bytes, uint32_t count) {
  SlotCounts counts;
  for (uint32_t i = 0; i < count; ++i) counts.Add(slot, 0);
  if (slot != Slot::kReserved) counts.bytes = bytes;
  Release(counts);
  Wake();
}

template <typename Sync>
void MailboxGate<Sync>::Wake() {
  // One waker makes the system call; the others find the bit gone. Changing the word keeps a
  // consumer that is between its last look and the sleep from sleeping.
  if ((event_.fetch_and(~kParked, std::memory_order_acq_rel) & kParked) != 0) {
    Sync::WakeOne(&event_);
  }
}

template <typename Sync>
void MailboxGate<Sync>::Close(CloseMode mode) {
  // Release pairs with the acquire in discarding(); the gate's change below publishes it too.
  if (mode == CloseMode::kDiscard) discarding_.store(true, std::memory_order_release);
  gate_.fetch_or(kClosed, std::memory_order_acq_rel);
  Wake();
  WakeSenders();
}

template <typename Sync>
void MailboxGate<Sync>::Release(const SlotCounts& counts) {
  if (counts.bytes > 0) GiveBackBytes(counts.bytes);
  const uint64_t taken = counts.data * OneOf(Slot::kData) + counts.control * OneOf(Slot::kControl) +
                         counts.reserved * OneOf(Slot::kReserved);
  // acq_rel: a sender admitted into this slot sees it, and so does TryFinish().
  const uint64_t before = gate_.fetch_sub(taken, std::memory_order_acq_rel);
  // Half empty before anyone is woken: a sender woken for one slot would sleep at the next.
  if ((before & kSpaceWanted) != 0 &&
      CountOf(before - taken, Slot::kData) <= limits_.data_count_max / 2) {
    WakeSenders();
  }
}

template <typename Sync>
void MailboxGate<Sync>::Wait(MonotonicTime deadline) {
  const uint64_t seen = event_.load(std::memory_order_acquire);
  if ((seen & kParked) == 0) return;
  Sync::Wait(event_, seen, deadline);
  if ((event_.load(std::memory_order_relaxed) & kParked) != 0) CancelWait();
}

template <typename Sync>
bool MailboxGate<Sync>::TryFinish(uint64_t taken) {
  if (accepted() != taken) return false;
  uint64_t gate = gate_.load(std::memory_order_acquire);
  while ((gate & kClosed) != 0 && DepthOf(gate) == 0) {
    if (gate_.compare_exchange_weak(gate, gate | kFinished, std::memory_order_acq_rel)) return true;
  }
  return false;
}

}  // namespace millrace
