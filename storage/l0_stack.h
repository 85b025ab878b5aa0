#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "millrace/storage/l0_buffer.h"
#include "millrace/storage/live_view.h"

namespace millrace::storage {

// The L0 buffers of the store: one active, the sealed ones behind it. Keeps the readers' list
// right. Owned by the Committer thread (before it starts, by recovery).
class L0Stack {
 public:
  L0Stack(LiveView& view, const L0Buffer::Options& buffer_options);

  L0Buffer& active() { return *active_; }
  // Active first, then the sealed ones, newest first.
  const BufferList& buffers() const { return buffers_; }

  // Seals the active buffer and returns it; a new, empty one takes over. Readers have the new list
  // before anything is published that is only in the new buffer. ResourceExhausted: no memory, and
  // nothing has changed.
  absl::StatusOr<std::shared_ptr<const L0Buffer>> Rotate();

  // Takes the oldest sealed buffer out: LMDB holds all of it. The caller frees it where that costs
  // no client anything.
  std::shared_ptr<const L0Buffer> DropOldest();

  // Bytes of all buffers, those included that were dropped and that snapshots still hold.
  uint64_t Bytes();
  // Of these, those that only snapshots hold.
  uint64_t RetiredBytes();

 private:
  struct Retired {
    std::weak_ptr<const L0Buffer> buffer;
    uint64_t bytes;
  };

  LiveView& view_;
  const L0Buffer::Options buffer_options_;
  std::shared_ptr<L0Buffer> active_;
  BufferList buffers_;
  std::vector<Retired> retired_;
};

}  // namespace millrace::storage
