#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/actors/stepped_pipeline.h"

#include "millrace/messages/fence.h"
#include "millrace/storage/meta.h"

namespace millrace::testing {

// A stepped pipeline in which nothing is rotated but by fences, with commits that are waited for,
// streamers that can be held, and streams that fail because every reader slot is taken.
class FencedPipeline : public SteppedPipeline {
 public:
  storage::Version Commit(storage::WriteBatch batch) {
    Pending<CommitReceipt> pending = Send(std::move(batch));
    driver_->StepUntilIdle();
    const absl::StatusOr<CommitReceipt> receipt = pending.Wait();
    EXPECT_TRUE(receipt.ok()) << receipt.status();
    return receipt.ok() ? receipt->version : storage::kNoVersion;
  }
  storage::Version Put(std::string_view id, int64_t number) {
    return Commit(SteppedPipeline::Put(id, number));
  }
  void Delete(std::string_view id) { Commit(SteppedPipeline::Delete(id)); }

  template <typename Message>
  Pending<FlushReceipt> Ask(Message message) {
    Pending<FlushReceipt> pending = committer_->Ask(message);
    driver_->StepUntilIdle();
    return pending;
  }
  Pending<FlushReceipt> AskFence(storage::Version version = storage::kNoVersion) {
    return Ask(Fence{.version = version});
  }
  Pending<FlushReceipt> PutAndFence(std::string_view id, int64_t number) {
    Put(id, number);
    return AskFence();
  }
  void FlushAll() {
    const absl::StatusOr<FlushReceipt> receipt = AskFence().Wait();
    ASSERT_TRUE(receipt.ok()) << receipt.status();
  }

  // A held streamer takes nothing up.
  void HoldStreamers() {
    for (const auto& streamer : streamers_) streamer->Freeze();
  }
  void Release(size_t streamer) {
    streamers_[streamer]->Unfreeze();
    driver_->StepUntilIdle();
  }
  // Takes every reader slot but those in use, so that no stream can read; Heal gives them back.
  void FailStreams() {
    for (;;) {
      absl::StatusOr<storage::ReadTransaction> taken = environment_->BeginRead();
      if (!taken.ok()) return;
      taken_slots_.push_back(*std::move(taken));
    }
  }
  void Heal() { taken_slots_.clear(); }

  int64_t Count() { return static_cast<int64_t>(*TakeSnapshot().Count(people_)); }
  storage::L1State L1() {
    const absl::StatusOr<storage::ReadTransaction> transaction = environment_->BeginRead();
    return *storage::ReadL1State(*transaction);
  }
  int64_t L1Count() { return L1().RecordCount(storage::kTrunk, people_.id); }

 protected:
  std::vector<storage::ReadTransaction> taken_slots_;
};

}  // namespace millrace::testing
