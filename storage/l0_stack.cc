#include "millrace/storage/l0_stack.h"

#include <new>

namespace millrace::storage {

L0Stack::L0Stack(LiveView& view, const L0Buffer::Options& buffer_options)
    : view_(view),
      buffer_options_(buffer_options),
      active_(std::make_shared<L0Buffer>(buffer_options)),
      buffers_{active_} {
  view_.SetBuffers(buffers_);
}

absl::StatusOr<std::shared_ptr<const L0Buffer>> L0Stack::Rotate() {
  try {
    auto next = std::make_shared<L0Buffer>(buffer_options_);
    BufferList buffers;
    buffers.reserve(buffers_.size() + 1);
    buffers.push_back(next);
    buffers.insert(buffers.end(), buffers_.begin(), buffers_.end());
    view_.SetBuffers(buffers);  // The last that can fail.
    buffers_ = std::move(buffers);
    return std::exchange(active_, std::move(next));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for a new L0 buffer; it is tried again");
  }
}

std::shared_ptr<const L0Buffer> L0Stack::DropOldest() {
  std::shared_ptr<const L0Buffer> oldest = std::move(buffers_.back());
  buffers_.pop_back();
  view_.SetBuffers(buffers_);
  retired_.push_back({oldest, oldest->bytes()});
  return oldest;
}

uint64_t L0Stack::Bytes() {
  uint64_t bytes = RetiredBytes();
  for (const auto& buffer : buffers_) bytes += buffer->bytes();
  return bytes;
}

uint64_t L0Stack::RetiredBytes() {
  std::erase_if(retired_, [](const Retired& retired) { return retired.buffer.expired(); });
  uint64_t bytes = 0;
  for (const Retired& retired : retired_) bytes += retired.bytes;
  return bytes;
}

}  // namespace millrace::storage
