#pragma once

#include <cstddef>
#include <cstdint>

#include "millrace/runtime/clock.h"
#include "millrace/runtime/futex.h"

namespace millrace {

// Which of a mailbox's queues a message travels in, and whose slot it takes. kReserved is a slot
// that its sender holds beforehand (a credit, an awaited answer): it is never refused for lack of
// room, and travels in the data queue.
enum class Slot : uint8_t { kData, kControl, kReserved };

enum class Admission : uint8_t {
  kAdmitted,  // The slot is promised: the sender must now publish or undo.
  kFull,      // No slot of that kind, or not so many bytes, free.
  kClosed,    // The mailbox is closed.
  kNoMemory,  // The queue could not grow.
};

enum class CloseMode : uint8_t { kDrain, kDiscard };

// Upper bounds of what a mailbox holds, exact. A limit is the sum of who can be in flight.
struct MailboxLimits {
  uint32_t data_count_max = 4096;       // At most 2^24 - 1.
  uint32_t control_count_max = 64;      // At most 2^16 - 1.
  uint64_t data_bytes_max = 64u << 20;  // Of what messages say in PayloadBytes().
};

// Slots and bytes given back together.
struct SlotCounts {
  uint32_t data = 0;
  uint32_t control = 0;
  uint32_t reserved = 0;
  uint64_t bytes = 0;
  uint32_t total() const { return data + control + reserved; }
  void Add(Slot slot, uint64_t payload_bytes) {
    (slot == Slot::kData ? data : slot == Slot::kControl ? control : reserved) += 1;
    if (slot != Slot::kReserved) bytes += payload_bytes;  // Reserved slots are bounded by count.
  }
};

// Admission, depth, closing and sleeping of one mailbox: two words that are only ever changed by
// read-modify-write. A sender admits, enqueues, then publishes; the one consumer releases what it
// has handled. Since a closed gate admits nothing, "closed and nothing admitted" is the exact end:
// no sentinel, nothing lost. Since publish and prepare change one word, either the consumer sees
// the element before it sleeps or the sender sees the sleeper and wakes it. Thread-safe; functions
// under "Consumer" are for the one consumer.
template <typename Sync>
class MailboxGate {
 public:
  explicit MailboxGate(const MailboxLimits& limits) : limits_(limits) {}

  // Senders. Takes `count` slots and `bytes`, all or nothing. kReserved passes a closed gate when
  // `even_closed` (answers do), but never a finished one.
  Admission TryAdmit(Slot slot, uint64_t bytes, uint32_t count = 1, bool even_closed = false);
  // Waits for room; kFull at the deadline. Never on an actor's thread.
  Admission AdmitUntil(Slot slot, uint64_t bytes, MonotonicTime deadline);
  // `count` admitted elements are in the queue: counts them as accepted, wakes the consumer.
  void Publish(uint32_t count = 1) {
    // acq_rel pairs with PrepareWait(): an element enqueued before is seen behind it.
    const uint64_t before =
        event_.fetch_add(uint64_t{count} * kOneEvent, std::memory_order_acq_rel);
    if ((before & kParked) != 0) Wake();
  }
  // The element could not be enqueued: gives the slot back, and lets the consumer look again
  // whether it was the last one.
  void Undo(Slot slot, uint64_t bytes, uint32_t count = 1);

  // Anyone. Wakes the consumer without an element.
  void Wake();
  // Admits nothing from now on. kDrain may become kDiscard later, not the other way.
  void Close(CloseMode mode);
  bool closed() const { return (gate_.load(std::memory_order_acquire) & kClosed) != 0; }
  bool discarding() const { return discarding_.load(std::memory_order_acquire); }
  uint32_t depth() const { return DepthOf(gate_.load(std::memory_order_relaxed)); }
  uint64_t accepted() const { return event_.load(std::memory_order_acquire) / kOneEvent; }
  uint64_t rejected_full() const { return rejected_full_.load(std::memory_order_relaxed); }
  uint64_t rejected_closed() const { return rejected_closed_.load(std::memory_order_relaxed); }
  const MailboxLimits& limits() const { return limits_; }

  // Consumer. What was taken out and dealt with; wakes senders that wait for room.
  void Release(const SlotCounts& counts);
  // Announces that it is about to sleep; look at the queue again, then Wait or CancelWait.
  void PrepareWait() { event_.fetch_or(kParked, std::memory_order_acq_rel); }
  void CancelWait() { event_.fetch_and(~kParked, std::memory_order_acq_rel); }
  // Nobody has woken it since PrepareWait().
  bool parked() const { return (event_.load(std::memory_order_acquire) & kParked) != 0; }
  // Sleeps unless something was published since PrepareWait().
  void Wait(MonotonicTime deadline);
  // True, for good, if closed, nothing admitted, and every sender of the `taken` elements has
  // passed Publish(): nobody will touch the mailbox again.
  bool TryFinish(uint64_t taken);

 private:
  // gate_: flags, then the number of slots taken of each kind.
  static constexpr uint64_t kClosed = 1;
  static constexpr uint64_t kFinished = 2;
  static constexpr uint64_t kSpaceWanted = 4;  // A sender sleeps until there is room.
  static constexpr int kDataShift = 3, kControlShift = 27, kReservedShift = 43;
  static constexpr uint64_t kDataMask = (1u << 24) - 1, kControlMask = (1u << 16) - 1;
  // event_: the parked bit, then the number of elements ever published.
  static constexpr uint64_t kParked = 1;
  static constexpr uint64_t kOneEvent = 2;

  static uint32_t CountOf(uint64_t gate, Slot slot) {
    switch (slot) {
      case Slot::kData:
        return (gate >> kDataShift) & kDataMask;
      case Slot::kControl:
        return (gate >> kControlShift) & kControlMask;
      case Slot::kReserved:
        break;
    }
    return static_cast<uint32_t>(gate >> kReservedShift);
  }
  static uint32_t DepthOf(uint64_t gate) {
    return CountOf(gate, Slot::kData) + CountOf(gate, Slot::kControl) +
           CountOf(gate, Slot::kReserved);
  }
  static uint64_t OneOf(Slot slot) {
    return uint64_t{1} << (slot == Slot::kData      ? kDataShift
                           : slot == Slot::kControl ? kControlShift
                                                    : kReservedShift);
  }
  uint32_t LimitOf(Slot slot) const {
    return slot == Slot::kData ? limits_.data_count_max : limits_.control_count_max;
  }
  Admission Refuse(Admission why);
  Admission Attempt(Slot slot, uint64_t bytes, uint32_t count, bool even_closed);
  bool TakeBytes(uint64_t bytes);
  void GiveBackBytes(uint64_t bytes);
  void WakeSenders();

  template <typename T>
  using Atom = typename Sync::template Atom<T>;

  const MailboxLimits limits_;
  alignas(64) Atom<uint64_t> gate_{0};
  Atom<uint64_t> event_{0};
  // Apart from the words above: rarely touched.
  alignas(64) Atom<uint64_t> bytes_{0};
  Atom<uint32_t> space_epoch_{0};
  Atom<uint64_t> rejected_full_{0};
  Atom<uint64_t> rejected_closed_{0};
  Atom<bool> discarding_{false};
};

}  // namespace millrace

#include "millrace/runtime/mailbox_gate_impl.h"
