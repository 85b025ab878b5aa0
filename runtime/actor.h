#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/status/status.h"

#include "millrace/runtime/cell.h"
#include "millrace/runtime/envelope.h"
#include "millrace/runtime/link_credits.h"
#include "millrace/runtime/mailbox.h"
#include "millrace/runtime/message_traits.h"
#include "millrace/runtime/reply.h"
#include "millrace/runtime/type_name.h"

namespace millrace {

// The mailbox as a base of its own: it is there before the cell that refers to it. Thread-safe.
template <typename E>
class OwnsMailbox {
 protected:
  explicit OwnsMailbox(const MailboxLimits& limits) : mailbox_(limits) {}
  Mailbox<E> mailbox_;
};

// An actor that takes the given messages, and no others: class Writer : public Actor<Writer, Put>.
//
// For each message the derived class has, private and with `friend Actor`, one of
//   void Handle(M message)                        ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
//   void Handle(M message, Reply<R> reply)        ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
// the second if M::ReplyType is R. Messages may say `static constexpr bool kControl = true`
// (control lane) and `size_t PayloadBytes() const` (counts against the byte bound). An actor that
// asks others lists Answer<R> among its messages. Where the derived class has them, it is also
// called for:
//   absl::Status OnStart();          // An error fails the start (or the restart).
//   void OnBatchEnd();               // Once after everything a step delivered: messages, timers,
//                                    // doorbell. The place for one sync that answers them all.
//   void OnTimer(TimerId id);
//   void OnDoorbell();
//   void OnClosing();                // The mailbox was closed; what was accepted still comes.
//   bool ReadyToStop();              // False keeps a drained actor going: timers, answers.
//   void OnStop(StopReason reason);  // Once for each OnStart that succeeded. May send.
// A closed actor stops when its mailbox is empty and every ReplyTo() of its own is answered.
//
// Its public functions are thread-safe; the handlers run on its own thread, one at a time. It
// blocks only on its own mailbox and its own I/O. What a handler throws becomes Internal for the
// asker and counts against the actor.
template <typename Self, typename... Messages>
class Actor : private OwnsMailbox<Envelope<Messages...>>, public Cell {
  using E = Envelope<Messages...>;
  template <typename M>
  static constexpr bool kTakes = (std::is_same_v<M, Messages> || ...);
  static_assert((std::is_nothrow_move_constructible_v<Messages> && ...));

 public:
  // Sends one way. ResourceExhausted if the mailbox is full, Cancelled if closed; never blocks.
  template <typename M>
  requires(!Request<M>) absl::Status Tell(M message) {
    return RefusalOf(Send(std::move(message), AnyReply()));
  }
  // Waits for room, at most until `deadline` of real time. Never from an actor.
  template <typename M>
  requires(!Request<M>) absl::Status TellUntil(M message, MonotonicTime deadline) {
    return RefusalOf(Send(std::move(message), AnyReply(), &deadline));
  }

  // Sends a request. A refusal is an answer too: it is in the Pending at once.
  template <Request M>
  Pending<typename M::ReplyType> Ask(M message) {
    auto [reply, pending] = MakeReply<typename M::ReplyType>();
    Ask(std::move(message), std::move(reply));
    return std::move(pending);
  }
  template <Request M>
  Pending<typename M::ReplyType> AskUntil(M message, MonotonicTime deadline) {
    auto [reply, pending] = MakeReply<typename M::ReplyType>();
    SendRequest(std::move(message), std::move(reply), &deadline);
    return std::move(pending);
  }
  // The same with a reply of the caller's: another actor's ReplyTo(), or one passed on.
  template <Request M>
  void Ask(M message, Reply<typename M::ReplyType> reply) {
    SendRequest(std::move(message), std::move(reply), nullptr);
  }

  void SetLaneSelector(LaneSelector* selector) final { mailbox_.SetLaneSelector(selector); }

 protected:
  explicit Actor(const ActorOptions& options)
      : OwnsMailbox<Envelope<Messages...>>(options.mailbox),
        Cell(options, mailbox_.gate(), kNames),
        batch_(options.batch_max) {}

  // A reply that comes back as Answer<T>{request} in this actor's mailbox, which always has room
  // for it. After a restart, answers to the former life are not delivered.
  template <typename T>
  Reply<T> ReplyTo(uint64_t request) {
    static_assert(kTakes<Answer<T>>, "list Answer<T> among the actor's messages");
    owner_.AssertOwned();
    ++outstanding_answers_;
    return Reply<T>(new ReplyCell<T>(
        AnswerAddress{.asker = this, .request = request, .incarnation = incarnation()},
        &TakeAnswer<T>));
  }

 private:
  template <typename Receiver>
  friend class Link;
  using Producer = typename Mailbox<E>::Producer;

  static constexpr std::array<std::string_view, sizeof...(Messages)> kNames = {
      TypeName<Messages>()...};

  template <typename M>
  Admission Send(M&& message, AnyReply&& reply, const MonotonicTime* deadline = nullptr) {
    using Plain = std::remove_cvref_t<M>;
    static_assert(kTakes<Plain>, "the actor does not take this message");
    constexpr Slot kSlot = IsControl<Plain>() ? Slot::kControl : Slot::kData;
    const uint64_t bytes = PayloadBytesOf(message);
    E envelope(std::forward<M>(message),
               {.reply = std::move(reply), .enqueued_ns = SampleTime(), .slot = kSlot});
    const Admission admission =
        deadline == nullptr ? mailbox_.Send(std::move(envelope), kSlot, bytes)
                            : mailbox_.SendUntil(std::move(envelope), kSlot, bytes, *deadline);
    if (admission != Admission::kAdmitted) {
      // What was refused was not taken. NOLINTNEXTLINE(bugprone-use-after-move)
      if (ReplyCellBase* cell = envelope.tail.reply.Detach()) cell->Fail(RefusalOf(admission));
    }
    return admission;
  }
  template <typename M, typename R>
  void SendRequest(M&& message, Reply<R>&& reply, const MonotonicTime* deadline) {
    Send(std::forward<M>(message), AnyReply(reply.Detach()), deadline);
  }
  // Link: through the sender's own sub-queue, in a slot the sender holds.
  template <typename M>
  Admission SendLinked(Producer& producer, M&& message, AnyReply&& reply, LinkCredits* credits) {
    static_assert(kTakes<std::remove_cvref_t<M>>, "the actor does not take this message");
    E envelope(std::forward<M>(message), {.reply = std::move(reply),
                                          .credits = credits,
                                          .enqueued_ns = SampleTime(),
                                          .slot = Slot::kReserved});
    const Admission admission = mailbox_.Send(producer, std::move(envelope), Slot::kReserved);
    if (admission != Admission::kAdmitted) {
      // What was refused was not taken. NOLINTNEXTLINE(bugprone-use-after-move)
      if (ReplyCellBase* cell = envelope.tail.reply.Detach()) cell->Fail(RefusalOf(admission));
    }
    return admission;
  }
  template <typename T>
  static void TakeAnswer(const AnswerAddress& address, absl::StatusOr<T>&& result) {
    auto* self = static_cast<Actor*>(address.asker);
    E envelope(Answer<T>{.request = address.request, .result = std::move(result)},
               {.credits = address.credits,
                .enqueued_ns = self->SampleTime(),
                .incarnation = address.incarnation,
                .slot = Slot::kReserved});
    switch (self->mailbox_.Send(std::move(envelope), Slot::kReserved, 0, /*even_closed=*/true)) {
      case Admission::kNoMemory:
        DieOfBug("no memory to deliver an answer");
      case Admission::kAdmitted:
        return;
      default:  // The asker has stopped.
        if (address.credits != nullptr) address.credits->Return();
    }
  }

  size_t FillBatch(size_t max) final {
    const size_t count = mailbox_.Drain(batch_.Space(), std::min(max, batch_.capacity()));
    batch_.Constructed(count);
    return count;
  }
  size_t BatchSize() const final { return batch_.size(); }
  void DeliverBatch() final {
    while (batch_.size() > 0 && !failing()) {
      if (batch_.size() > 2) __builtin_prefetch(batch_[2].tail.reply.cell(), 1);
      E& envelope = batch_[0];
      Ending ending{*this, envelope};
      std::visit([&](auto& message) { Deliver(message, envelope.tail); }, envelope.body);
    }
  }
  void DiscardBatch(const absl::Status& cause) final {
    while (batch_.size() > 0) {
      E& envelope = batch_[0];
      Ending ending{*this, envelope};
      CountsOf(envelope.body.index()).discarded.Add();
      TakeBack(envelope);
      if (ReplyCellBase* cell = envelope.tail.reply.Detach()) cell->Fail(MarkNotExecuted(cause));
    }
  }

  // Ends the delivery of one message, however its handler was left.
  struct Ending {
    Ending(Actor& actor, E& envelope)
        : actor(actor),
          slot(envelope.tail.slot),
          bytes(std::visit([](const auto& m) { return PayloadBytesOf(m); }, envelope.body)) {}
    ~Ending() {
      actor.batch_.PopFront();
      actor.EndDelivery(slot, bytes);
    }
    Actor& actor;
    const Slot slot;
    const uint64_t bytes;
  };

  // What its arrival alone gives back: the credit, and the expectation of an answer.
  void TakeBack(E& envelope) {
    if (envelope.tail.credits != nullptr) envelope.tail.credits->Return();
    if (std::visit([](const auto& m) { return kIsAnswer<std::remove_cvref_t<decltype(m)>>; },
                   envelope.body)) {
      --outstanding_answers_;
    }
  }

  template <typename M>
  void Deliver(M& message, EnvelopeTail& tail) {
    constexpr size_t kIndex =
        std::find(kMatches<M>.begin(), kMatches<M>.end(), true) - kMatches<M>.begin();
    Self& self = static_cast<Self&>(*this);
    self.owner_.AssertOwned();
    if (tail.credits != nullptr) tail.credits->Return();
    BeginDelivery(kIndex, tail.enqueued_ns);
    if constexpr (kIsAnswer<M>) {
      --outstanding_answers_;
      if (tail.incarnation != incarnation()) return CountsOf(kIndex).discarded.Add();
      CountsOf(kIndex).handled.Add();
      self.Handle(std::move(message));
    } else if constexpr (Request<M>) {
      Reply<typename M::ReplyType> reply(
          static_cast<ReplyCell<typename M::ReplyType>*>(tail.reply.Detach()));
      if (reply.abandoned()) return CountsOf(kIndex).expired.Add();
      CountsOf(kIndex).handled.Add();
      self.Handle(std::move(message), std::move(reply));
    } else {
      CountsOf(kIndex).handled.Add();
      self.Handle(std::move(message));
    }
  }
  template <typename M>
  static constexpr std::array<bool, sizeof...(Messages)> kMatches = {
      std::is_same_v<M, Messages>...};

  absl::Status CallOnStart() final {
    if constexpr (requires(Self & self) { self.OnStart(); }) {
      Self& self = static_cast<Self&>(*this);
      self.owner_.AssertOwned();
      return self.OnStart();
    }
    return absl::OkStatus();
  }
  void CallOnStop(StopReason reason) final {
    if constexpr (requires(Self & self) { self.OnStop(reason); }) {
      Self& self = static_cast<Self&>(*this);
      self.owner_.AssertOwned();
      self.OnStop(reason);
    }
  }
  void CallOnTimer(TimerId id) final {
    if constexpr (requires(Self & self) { self.OnTimer(id); }) {
      Self& self = static_cast<Self&>(*this);
      self.owner_.AssertOwned();
      self.OnTimer(id);
    }
  }
  void CallOnDoorbell() final {
    if constexpr (requires(Self & self) { self.OnDoorbell(); }) {
      Self& self = static_cast<Self&>(*this);
      self.owner_.AssertOwned();
      self.OnDoorbell();
    }
  }
  void CallOnClosing() final {
    if constexpr (requires(Self & self) { self.OnClosing(); }) {
      Self& self = static_cast<Self&>(*this);
      self.owner_.AssertOwned();
      self.OnClosing();
    }
  }
  void CallOnBatchEnd() final {
    if constexpr (requires(Self & self) { self.OnBatchEnd(); }) {
      Self& self = static_cast<Self&>(*this);
      self.owner_.AssertOwned();
      self.OnBatchEnd();
    }
  }
  bool CallReadyToStop() final {
    if constexpr (requires(Self & self) { self.ReadyToStop(); }) {
      Self& self = static_cast<Self&>(*this);
      self.owner_.AssertOwned();
      return self.ReadyToStop();
    }
    return true;
  }

  using OwnsMailbox<E>::mailbox_;
  Batch<E> batch_;
};

}  // namespace millrace
