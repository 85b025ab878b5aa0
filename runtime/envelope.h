#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <variant>

#include "millrace/runtime/mailbox_gate.h"
#include "millrace/runtime/reply_cell.h"

namespace millrace {

class LinkCredits;

// A reply without its type, as it lies in a mailbox. Dropped, it answers Cancelled. Value.
class AnyReply {
 public:
  AnyReply() = default;
  explicit AnyReply(ReplyCellBase* cell) : cell_(cell) {}
  AnyReply(AnyReply&& other) noexcept : cell_(std::exchange(other.cell_, nullptr)) {}
  AnyReply& operator=(AnyReply&&) = delete;
  ~AnyReply() {
    if (cell_ != nullptr) DropUnsent(cell_);
  }
  ReplyCellBase* cell() const { return cell_; }
  ReplyCellBase* Detach() { return std::exchange(cell_, nullptr); }

 private:
  ReplyCellBase* cell_ = nullptr;
};

// What travels beside a message. Value.
struct EnvelopeTail {
  AnyReply reply;                  // Of a request; else empty.
  LinkCredits* credits = nullptr;  // Gets its slot back when the message is dealt with.
  int64_t enqueued_ns = 0;         // Of one message in 64; else 0.
  uint32_t incarnation = 0;        // Of an answer: the life that asked.
  Slot slot = Slot::kData;
};

// One message on its way. Value.
template <typename... Messages>
struct Envelope {
  template <typename M>
  Envelope(M&& message, EnvelopeTail&& envelope_tail) noexcept
      : body(std::forward<M>(message)), tail(std::move(envelope_tail)) {}

  std::variant<Messages...> body;
  EnvelopeTail tail;
};

// Elements taken out of a mailbox and not yet delivered. Owned by the actor's thread.
template <typename E>
class Batch {
 public:
  explicit Batch(size_t capacity)
      : memory_(
            static_cast<E*>(::operator new (capacity * sizeof(E), std::align_val_t{alignof(E)}))),
        capacity_(capacity) {}
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  ~Batch() {
    while (size() > 0) PopFront();
    ::operator delete (memory_, std::align_val_t{alignof(E)});
  }

  size_t capacity() const { return capacity_; }
  size_t size() const { return end_ - begin_; }
  // Where elements may be constructed: `capacity()` of them. Only while empty.
  E* Space() {
    begin_ = end_ = 0;
    return memory_;
  }
  void Constructed(size_t count) { end_ = count; }
  E& operator[](size_t i) { return memory_[begin_ + i]; }
  void PopFront() { memory_[begin_++].~E(); }

 private:
  E* const memory_;
  const size_t capacity_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace millrace
