#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include <concurrentqueue.h>

#include "millrace/runtime/lane_selector.h"
#include "millrace/runtime/mailbox_gate.h"
#include "millrace/runtime/mutex_queue.h"

namespace millrace {

// moodycamel's ConcurrentQueue as a mailbox uses it: many producers, one consumer with a token (so
// that a busy producer cannot starve the others), in bulk. Push is thread-safe, Pop is for the one
// consumer.
template <typename E>
class MoodycamelQueue {
  using Queue = moodycamel::ConcurrentQueue<E>;

 public:
  // A sender's own sub-queue. Owned by the sender's thread; goes before the queue.
  class Producer {
   public:
    explicit Producer(MoodycamelQueue& queue) : token_(queue.queue_) {}

   private:
    friend MoodycamelQueue;
    moodycamel::ProducerToken token_;
  };

  explicit MoodycamelQueue(size_t capacity_hint) : queue_(capacity_hint), consumer_(queue_) {}

  bool Push(E&& element) { return queue_.enqueue(std::move(element)); }
  bool Push(Producer& producer, E&& element) {
    return queue_.enqueue(producer.token_, std::move(element));
  }
  bool PushBulk(Producer& producer, E* first, size_t count) {
    return queue_.enqueue_bulk(producer.token_, std::make_move_iterator(first), count);
  }
  size_t Pop(E* out, size_t max) {
    return queue_.try_dequeue_bulk(consumer_, ConstructingIterator{out}, max);
  }

 private:
  // Where the queue assigns, an element is constructed: envelopes need no assignment.
  struct ConstructingIterator {
    struct Slot {
      E* at;
      void operator=(E&& element) noexcept { new (at) E(std::move(element)); }
    };
    E* at;
    Slot operator*() const { return {at}; }
    ConstructingIterator operator++(int) { return {at++}; }
    ConstructingIterator& operator++() { return ++at, *this; }
  };

  Queue queue_;
  moodycamel::ConsumerToken consumer_;
};

#if defined(MILLRACE_MAILBOX_MUTEX)
template <typename E>
using DefaultQueue = MutexQueue<E>;
#else
template <typename E>
using DefaultQueue = MoodycamelQueue<E>;
#endif

// A bounded, closable queue of many senders and one consumer, with a control lane that data cannot
// starve. Order: FIFO per sending thread (per Producer where one is used, which is a sender of its
// own), nothing across senders. Bounds are exact, by count and by bytes. Send is thread-safe;
// Drain, and the gate's consumer functions, are for the one consumer.
template <typename E, template <typename> class Queue = DefaultQueue, typename Sync = SystemSync>
class Mailbox {
 public:
  static_assert(std::is_nothrow_move_constructible_v<E>);

  // A sender of its own. Owned by the sender's thread; goes before the mailbox.
  class Producer {
   public:
    explicit Producer(Queue<E>& queue) : end_(queue) {}

   private:
    friend Mailbox;
    typename Queue<E>::Producer end_;
    uint32_t lane_ = 0;  // Under a selector: its own, from 1.
  };

  explicit Mailbox(const MailboxLimits& limits)
      : gate_(limits),
        data_(InitialCapacity(limits.data_count_max)),
        control_(InitialCapacity(limits.control_count_max)) {}

  Producer MakeProducer() { return Producer(data_); }

  // The element is moved from only if admitted.
  Admission Send(E&& element, Slot slot, uint64_t bytes = 0, bool even_closed = false) {
    const Admission admission = gate_.TryAdmit(slot, bytes, 1, even_closed);
    return admission == Admission::kAdmitted ? Enqueue(std::move(element), slot, bytes) : admission;
  }
  // Waits for room until `deadline`; never on an actor's thread.
  Admission SendUntil(E&& element, Slot slot, uint64_t bytes, MonotonicTime deadline) {
    const Admission admission = gate_.AdmitUntil(slot, bytes, deadline);
    return admission == Admission::kAdmitted ? Enqueue(std::move(element), slot, bytes) : admission;
  }
  // Through a sub-queue of the sender's own. Not for control.
  Admission Send(Producer& producer, E&& element, Slot slot, uint64_t bytes = 0) {
    if (Admission a = gate_.TryAdmit(slot, bytes); a != Admission::kAdmitted) return a;
    return Enqueue(producer, std::move(element), slot, bytes);
  }
  Admission SendUntil(Producer& producer, E&& element, Slot slot, uint64_t bytes,
                      MonotonicTime deadline) {
    const Admission admission = gate_.AdmitUntil(slot, bytes, deadline);
    if (admission != Admission::kAdmitted) return admission;
    return Enqueue(producer, std::move(element), slot, bytes);
  }
  // `count` elements in kData slots, all or none.
  Admission SendBulk(Producer& producer, E* first, uint32_t count, uint64_t bytes = 0) {
    if (Admission a = gate_.TryAdmit(Slot::kData, bytes, count); a != Admission::kAdmitted)
      return a;
    if (selector_ == nullptr) {
      return Finish(data_.PushBulk(producer.end_, first, count), Slot::kData, bytes, count);
    }
    for (uint32_t i = 0; i < count; ++i)
      AddToLane(data_lanes_, LaneOf(producer), std::move(first[i]));
    return Finish(true, Slot::kData, bytes, count);
  }

  // Constructs up to `max` elements at `out`, control first; returns how many. Their slots stay
  // taken until gate().Release().
  size_t Drain(E* out, size_t max) {
    if (selector_ != nullptr) return DrainSelected(out, max);
    const size_t control = control_.Pop(out, max);
    return control + (control < max ? data_.Pop(out + control, max - control) : 0);
  }

  MailboxGate<Sync>& gate() { return gate_; }
  const MailboxGate<Sync>& gate() const { return gate_; }

  // Null is production. With a selector the mailbox is single-threaded; what was sent before comes
  // first.
  void SetLaneSelector(LaneSelector* selector) { selector_ = selector; }

 private:
  using Lanes = std::deque<std::deque<E>>;  // Of threads the even ones, of producers the odd.

  static size_t InitialCapacity(uint32_t limit) { return limit < 1024 ? limit : 1024; }

  Admission Enqueue(E&& element, Slot slot, uint64_t bytes) {
    if (selector_ != nullptr) {
      AddToLane(slot == Slot::kControl ? control_lanes_ : data_lanes_, 2 * selector_->SenderLane(),
                std::move(element));
      return Finish(true, slot, bytes, 1);
    }
    Queue<E>& queue = slot == Slot::kControl ? control_ : data_;
    return Finish(queue.Push(std::move(element)), slot, bytes, 1);
  }
  Admission Enqueue(Producer& producer, E&& element, Slot slot, uint64_t bytes) {
    if (selector_ != nullptr) {
      AddToLane(data_lanes_, LaneOf(producer), std::move(element));
      return Finish(true, slot, bytes, 1);
    }
    return Finish(data_.Push(producer.end_, std::move(element)), slot, bytes, 1);
  }
  uint32_t LaneOf(Producer& producer) {
    if (producer.lane_ == 0) producer.lane_ = ++producer_count_;
    return 2 * producer.lane_ - 1;
  }
  static void AddToLane(Lanes& lanes, uint32_t lane, E&& element) {
    if (lanes.size() <= lane) lanes.resize(lane + 1);
    lanes[lane].push_back(std::move(element));
  }
  Admission Finish(bool enqueued, Slot slot, uint64_t bytes, uint32_t count) {
    if (enqueued) {
      gate_.Publish(count);
      return Admission::kAdmitted;
    }
    gate_.Undo(slot, bytes, count);
    return Admission::kNoMemory;
  }
  size_t DrainSelected(E* out, size_t max) {
    const size_t limit = selector_->BatchSize(max);
    size_t count = control_.Pop(out, limit);  // From before there was a selector.
    if (count < limit) count += data_.Pop(out + count, limit - count);
    while (count < limit &&
           (TakeSelected(control_lanes_, out + count) || TakeSelected(data_lanes_, out + count))) {
      ++count;
    }
    return count;
  }
  bool TakeSelected(Lanes& lanes, E* out) {
    std::vector<uint32_t> waiting;
    for (uint32_t i = 0; i < lanes.size(); ++i) {
      if (!lanes[i].empty()) waiting.push_back(i);
    }
    if (waiting.empty()) return false;
    std::deque<E>& lane = lanes[waiting[selector_->Choose(waiting)]];
    new (out) E(std::move(lane.front()));
    lane.pop_front();
    return true;
  }

  MailboxGate<Sync> gate_;
  Queue<E> data_;
  Queue<E> control_;
  LaneSelector* selector_ = nullptr;
  Lanes data_lanes_;
  Lanes control_lanes_;
  uint32_t producer_count_ = 0;  // That have sent under the selector.
};

}  // namespace millrace
