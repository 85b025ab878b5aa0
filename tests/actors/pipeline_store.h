#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/commit_group.h"
#include "millrace/actors/recovery.h"
#include "millrace/actors/shared_transaction.h"
#include "millrace/actors/slice_applier.h"
#include "millrace/actors/slice_builder.h"
#include "millrace/storage/lease_registry.h"
#include "millrace/storage/snapshot.h"

namespace millrace::testing {

inline const storage::Collection kPeople{.id = 1, .name = "people"};

inline storage::Document Number(int64_t number) {
  return *storage::DocumentBuilder().Set("n", number).Finish();
}
inline std::string PersonKey(std::string_view id) {
  return storage::EncodeRowKey({.collection = kPeople.id, .id = id});
}

// A store whose flushes are driven step by step, without actors: log, L0, slices, L1. Dropping it
// with Crash leaves on the disk what a kill would leave. Thread-compatible.
class PipelineStore {
 public:
  PipelineStore() { Open(); }
  ~PipelineStore() { Crash(); }

  void Open() {
    storage::EnvironmentOptions options;
    options.directory = directory_.path();
    options.map_size_bytes = uint64_t{1} << 32;
    options.quota_bytes = uint64_t{1} << 30;
    absl::StatusOr<std::unique_ptr<storage::Environment>> opened =
        storage::Environment::Open(options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    environment_ = *std::move(opened);
    absl::StatusOr<storage::WritePermit> permit = environment_->TakeWritePermit();
    ASSERT_TRUE(permit.ok()) << permit.status();
    view_ = std::make_unique<storage::LiveView>();
    absl::StatusOr<Recovered> recovered =
        Recover(*environment_, storage::SystemFileSystem(),
                {.directory = directory_.File("log"), .file_bytes = uint64_t{1} << 20}, {}, *view_);
    ASSERT_TRUE(recovered.ok()) << recovered.status();
    recovered_ = std::make_unique<Recovered>(*std::move(recovered));
    first_version_ = recovered_->active_first_version;
    outcomes_ = recovered_->active_outcomes;
    transaction_ = std::make_unique<SharedTransaction>(*environment_, *std::move(permit));
    applier_ = std::make_unique<SliceApplier>(*environment_);
    transaction_->Add(*applier_);
    ASSERT_TRUE(applier_->Load().ok());
    leases_ = std::make_shared<storage::LeaseRegistry>(storage::LeaseRegistry::Options{});
  }
  void Crash() {
    if (leases_ != nullptr) leases_->Close();
    transaction_.reset();
    applier_.reset();
    recovered_.reset();
    environment_.reset();
  }
  void Reopen() {
    Crash();
    Open();
  }

  // Commits a batch of blind writes, synced and published; its version.
  storage::Version Commit(storage::WriteBatch batch, storage::CommitToken token = {}) {
    batch.Normalize();
    CommitGroup group(*recovered_->log);
    group.OpenBatch(token).append(batch.encoded());
    const absl::StatusOr<storage::Version> version =
        group.AcceptBatch(recovered_->l0->active(), batch.operation_count());
    EXPECT_TRUE(version.ok()) << version.status();
    group.InsertInto(recovered_->l0->active());
    const absl::Status status = group.Write(/*sync=*/true);
    EXPECT_TRUE(status.ok()) << status;
    view_->Publish(*version);
    if (first_version_ == storage::kNoVersion) first_version_ = *version;
    if (token.epoch != 0) outcomes_.push_back({token, *version});
    return *version;
  }

  // Seals what was committed since the last rotation.
  FlushJob Rotate() {
    absl::StatusOr<std::shared_ptr<const storage::L0Buffer>> sealed = recovered_->l0->Rotate();
    EXPECT_TRUE(sealed.ok()) << sealed.status();
    return {.sequence = applier_->durable().head.id + 1,
            .first_version = std::exchange(first_version_, storage::kNoVersion),
            .last_version = recovered_->log->last_version(),
            .log_floor = recovered_->log->current_file(),
            .sealed = *std::move(sealed),
            .outcomes = std::exchange(outcomes_, {})};
  }

  std::vector<Slice> Slices(const FlushJob& job, size_t rows_max) {
    absl::StatusOr<std::vector<Slice>> slices =
        BuildSlices(job, *environment_, {.rows_max = rows_max}, [] { return absl::OkStatus(); });
    EXPECT_TRUE(slices.ok()) << slices.status();
    return slices.ok() ? *std::move(slices) : std::vector<Slice>();
  }

  static ApplySlice Message(const FlushJob& job, Slice slice) {
    ApplySlice message{.sequence = job.sequence,
                       .attempt = job.attempt,
                       .first_version = job.first_version,
                       .last_version = job.last_version,
                       .log_floor = job.log_floor,
                       .sealed = job.sealed,
                       .slice = std::move(slice)};
    if (message.slice.last) message.outcomes = job.outcomes;
    return message;
  }

  absl::Status Apply(const ApplySlice& slice) {
    const absl::StatusOr<storage::WriteTransaction*> transaction = transaction_->Begin();
    if (!transaction.ok()) return transaction.status();
    return applier_->Apply(**transaction, slice).status();
  }

  // Applies and commits the first `count` slices of the job, one transaction each; how many there
  // were in all.
  size_t Flush(const FlushJob& job, size_t rows_max, size_t count = ~size_t{0}) {
    const std::vector<Slice> slices = Slices(job, rows_max);
    for (size_t i = 0; i < slices.size() && i < count; ++i) {
      const absl::Status applied = Apply(Message(job, slices[i]));
      EXPECT_TRUE(applied.ok()) << applied;
      const absl::Status status = transaction_->Commit();
      EXPECT_TRUE(status.ok()) << status;
    }
    return slices.size();
  }

  storage::Snapshot TakeSnapshot() {
    absl::StatusOr<storage::Snapshot> snapshot =
        storage::Snapshot::Take({.environment = *environment_, .view = *view_, .leases = leases_},
                                "test", absl::UnixEpoch());
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    return *std::move(snapshot);
  }
  storage::L1State L1() {
    const absl::StatusOr<storage::ReadTransaction> transaction = environment_->BeginRead();
    return *storage::ReadL1State(*transaction);
  }

  storage::Environment& environment() { return *environment_; }
  Recovered& recovered() { return *recovered_; }
  SliceApplier& applier() { return *applier_; }
  SharedTransaction& transaction() { return *transaction_; }
  storage::LiveView& view() { return *view_; }

 private:
  TemporaryDirectory directory_;
  std::unique_ptr<storage::Environment> environment_;
  std::unique_ptr<storage::LiveView> view_;
  std::unique_ptr<Recovered> recovered_;
  std::unique_ptr<SliceApplier> applier_;
  std::unique_ptr<SharedTransaction> transaction_;
  std::shared_ptr<storage::LeaseRegistry> leases_;
  storage::Version first_version_ = storage::kNoVersion;
  std::vector<storage::RememberedCommit> outcomes_;
};

}  // namespace millrace::testing
