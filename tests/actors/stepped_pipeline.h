#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/committer.h"
#include "millrace/actors/flush_finalizer.h"
#include "millrace/actors/pacing.h"
#include "millrace/actors/writer.h"
#include "millrace/storage/snapshot.h"
#include "millrace/testing/manual_clock.h"
#include "millrace/testing/step_driver.h"

namespace millrace::testing {

// The whole pipeline stepped by hand, with a clock that is moved and files that fail when told to.
// Thread-compatible.
class SteppedPipeline {
 public:
  static Committer::Options NeverRotate() {
    return {.sync_interval = absl::Milliseconds(100),
            .rotate_bytes = uint64_t{1} << 40,
            .rotate_rows = uint64_t{1} << 40,
            .rotate_interval = absl::InfiniteDuration()};
  }

  ~SteppedPipeline() { Crash(); }

  // Leaves on the disk what a kill would leave; Start opens the store again.
  void Crash() {
    leases_->Close();
    driver_.reset();
    committer_.reset();
    finalizer_.reset();
    streamers_.clear();
    writer_.reset();
    environment_.reset();
  }

  void Start(const Committer::Options& options, uint32_t batch_max = 256,
             const Backpressure::Limits& limits = {.soft_bytes_max = 1 << 26,
                                                   .hard_bytes_max = 1 << 27}) {
    auto environment = storage::Environment::Open({.directory = directory_.path(),
                                                   .map_size_bytes = uint64_t{1} << 32,
                                                   .quota_bytes = uint64_t{1} << 30,
                                                   .reader_slots_max = reader_slots_max_});
    ASSERT_TRUE(environment.ok()) << environment.status();
    environment_ = *std::move(environment);
    absl::StatusOr<Recovered> recovered =
        Recover(*environment_, files_,
                {.directory = directory_.File("log"), .file_bytes = uint64_t{4} << 20}, {}, view_);
    ASSERT_TRUE(recovered.ok()) << recovered.status();
    leases_ = std::make_shared<storage::LeaseRegistry>(storage::LeaseRegistry::Options{});
    health_.SetTrouble(absl::OkStatus());
    health_.SetDegraded(absl::OkStatus());
    backpressure_.emplace(limits);
    writer_.emplace(Named("writer"), *environment_, *environment_->TakeWritePermit(), pacing_,
                    health_);
    for (uint32_t i = 1; i <= options.pending_flushes_max; ++i) {
      ActorOptions streamer_options = Named(absl::StrCat("streamer-", i));
      streamer_options.supervision = FlushStreamer::Supervised();
      streamers_.push_back(
          std::make_unique<FlushStreamer>(streamer_options, *environment_, *recovered->log));
      if (streamers_are_held_) streamers_.back()->Freeze();
    }
    finalizer_.emplace(
        Named("finalizer"), finalizer_options_,
        FlushFinalizer::Neighbours{
            .writer = *writer_, .streamers = streamers_, .health = health_, .metrics = metrics_});
    ActorOptions committer_options = Named("committer", batch_max);
    committer_.emplace(committer_options, options, *std::move(recovered),
                       Committer::Neighbours{.environment = *environment_,
                                             .view = view_,
                                             .leases = leases_,
                                             .backpressure = *backpressure_,
                                             .pacing = pacing_,
                                             .health = health_,
                                             .flush_metrics = metrics_,
                                             .finalizer = *finalizer_,
                                             .streamers = streamers_});
    StartActors();
  }

  Pending<CommitReceipt> Send(storage::WriteBatch batch,
                              Durability durability = Durability::kDurable) {
    return committer_->Ask(Commit{.batch = std::move(batch), .durability = durability});
  }
  Pending<CommitReceipt> Park(storage::WriteBatch batch) {
    auto [reply, pending] = MakeReply<CommitReceipt>();
    backpressure_->Park({.commit = {.batch = std::move(batch)},
                         .reply = std::move(reply),
                         .deadline = clock_.Now() + absl::Seconds(30)});
    committer_->Ring();
    return std::move(pending);
  }
  storage::WriteBatch Put(std::string_view id, int64_t number,
                          storage::Precondition precondition = {}) const {
    storage::WriteBatch batch;
    batch.Put(people_, id, *storage::DocumentBuilder().Set("n", number).Finish(), precondition);
    return batch;
  }
  storage::WriteBatch Delete(std::string_view id) const {
    storage::WriteBatch batch;
    batch.Delete(people_, id);
    return batch;
  }
  storage::Snapshot TakeSnapshot() {
    absl::StatusOr<storage::Snapshot> snapshot = storage::Snapshot::Take(
        {.environment = *environment_, .view = view_, .leases = leases_}, "test",
        absl::UnixEpoch() + absl::Nanoseconds(clock_.Now().nanoseconds()));
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    return *std::move(snapshot);
  }

 protected:
  ActorOptions Named(const std::string& name, uint32_t batch_max = 256) {
    return {.name = name, .clock = &clock_, .batch_max = batch_max};
  }
  void StartActors() {
    driver_.emplace(clock_);
    std::vector<Cell*> actors = {&*writer_};
    for (const auto& streamer : streamers_) actors.push_back(&*streamer);
    actors.insert(actors.end(), {&*finalizer_, &*committer_});
    for (Cell* actor : actors) ASSERT_TRUE(driver_->Start(*actor).ok());
    Pending<storage::Collection> defined = committer_->Ask(DefineCollection{.name = "people"});
    driver_->StepUntilIdle();
    people_ = *defined.Wait();
    files_.ClearEvents();
  }

  const TemporaryDirectory directory_ = TemporaryDirectory::InMemory();
  ManualClock clock_;
  FaultyFileSystem files_{storage::SystemFileSystem()};
  std::unique_ptr<storage::Environment> environment_;
  storage::LiveView view_;
  std::shared_ptr<storage::LeaseRegistry> leases_ =
      std::make_shared<storage::LeaseRegistry>(storage::LeaseRegistry::Options{});
  Health health_;
  Pacing pacing_{clock_};
  FlushMetrics metrics_;
  // To be set before Start.
  FlushFinalizer::Options finalizer_options_;
  int reader_slots_max_ = 1024;
  bool streamers_are_held_ = false;
  std::optional<Backpressure> backpressure_;
  std::optional<Writer> writer_;
  std::vector<std::unique_ptr<FlushStreamer>> streamers_;
  std::optional<FlushFinalizer> finalizer_;
  std::optional<Committer> committer_;
  std::optional<StepDriver> driver_;
  storage::Collection people_;
};

}  // namespace millrace::testing
