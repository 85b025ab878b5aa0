#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "millrace/storage/l0_buffer.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// The L0 buffers that a snapshot reads before LMDB, newest first. Never changed once it is shared.
using BufferList = std::vector<std::shared_ptr<const L0Buffer>>;

// What the Committer shows to readers: the published version and the L0 buffers. One thread writes
// (the Committer), any number read. Thread-safe.
//
// A reader takes the published version, then the list, then its LMDB transaction, in this order;
// the writer changes the list before it publishes a version of a new buffer, and drops a buffer
// from it only after LMDB holds all of it. So whatever is not in the reader's list is in its
// transaction.
class LiveView {
 public:
  // Every batch up to this one is visible to snapshots taken from now on.
  Version published() const { return published_.load(std::memory_order_acquire); }
  std::shared_ptr<const BufferList> buffers() const {
    absl::MutexLock lock(&mutex_);
    return buffers_;
  }

  void Publish(Version version) {
    // Pairs with the acquire in published(): a reader of this version sees its rows.
    published_.store(version, std::memory_order_release);
  }
  // Throws without memory; then nothing has changed.
  void SetBuffers(BufferList buffers) {
    auto shared = std::make_shared<const BufferList>(std::move(buffers));
    absl::MutexLock lock(&mutex_);
    buffers_.swap(shared);
  }

 private:
  std::atomic<Version> published_{kNoVersion};
  mutable absl::Mutex mutex_;
  std::shared_ptr<const BufferList> buffers_ ABSL_GUARDED_BY(mutex_) =
      std::make_shared<const BufferList>();
};

}  // namespace millrace::storage
