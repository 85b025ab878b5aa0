#include "millrace/actors/recovery.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/logged_batch.h"

namespace millrace {
namespace {

using storage::kNoVersion;
using storage::LoggedBatch;
using storage::Version;

// Puts replayed batches where they belong: what the flush under way holds into one buffer, what
// came later into the next.
class Replay {
 public:
  explicit Replay(Recovered& recovered) : recovered_(recovered) {}

  absl::Status Take(const LoggedBatch& batch) {
    const storage::L1State& l1 = recovered_.l1;
    if (batch.version <= l1.head.last_version) return absl::OkStatus();
    if (l1.flush.has_value() && batch.version > l1.flush->last_version) {
      if (absl::Status status = SealResumed(); !status.ok()) return status;
    }
    rows_.clear();
    storage::CommitToken token;
    absl::Status status = storage::ReadLoggedBatch(batch.effects, batch.version, &rows_, &token);
    if (!status.ok()) return status;
    storage::L0Buffer& active = recovered_.l0->active();
    status = active.Reserve(rows_.size(), batch.effects.size());
    if (!status.ok()) return status;
    active.Insert(rows_);
    if (first_version_ == kNoVersion) first_version_ = batch.version;
    if (token.epoch != 0) outcomes_.push_back({token, batch.version});
    return absl::OkStatus();
  }

  absl::Status Finish() {
    if (absl::Status status = SealResumed(); !status.ok()) return status;
    recovered_.active_first_version = first_version_;
    recovered_.active_outcomes = std::move(outcomes_);
    return absl::OkStatus();
  }

 private:
  // The active buffer, once it holds all of the flush that was under way, becomes its job.
  absl::Status SealResumed() {
    const std::optional<storage::FlushRow>& flush = recovered_.l1.flush;
    if (!flush.has_value() || recovered_.resumed.has_value()) return absl::OkStatus();
    absl::StatusOr<std::shared_ptr<const storage::L0Buffer>> sealed = recovered_.l0->Rotate();
    if (!sealed.ok()) return sealed.status();
    recovered_.resumed = FlushJob{.sequence = flush->sequence,
                                  .attempt = flush->attempt + 1,
                                  .first_version = flush->first_version,
                                  .last_version = flush->last_version,
                                  .log_floor = recovered_.l1.head.log_floor,
                                  .sealed = *std::move(sealed),
                                  .resume_after = flush->cursor,
                                  .resume_slice = flush->next_slice,
                                  .outcomes = std::exchange(outcomes_, {})};
    first_version_ = kNoVersion;
    return absl::OkStatus();
  }

  Recovered& recovered_;
  std::vector<storage::L0Row> rows_;
  Version first_version_ = kNoVersion;
  std::vector<storage::RememberedCommit> outcomes_;
};

absl::Status WithRemedy(const absl::Status& status) {
  if (!absl::IsDataLoss(status)) return status;
  return absl::DataLossError(absl::StrCat(status.message(),
                                          "; restore the store from a backup; millrace verify "
                                          "names all that is damaged"));
}

}  // namespace

absl::StatusOr<Recovered> Recover(storage::Environment& environment, storage::FileSystem& files,
                                  const storage::CommitLogOptions& log_options,
                                  const storage::L0Buffer::Options& buffer_options,
                                  storage::LiveView& view) {
  Recovered recovered;
  {
    const absl::StatusOr<storage::ReadTransaction> transaction = environment.BeginRead();
    if (!transaction.ok()) return transaction.status();
    absl::StatusOr<storage::L1State> l1 = storage::ReadL1State(*transaction);
    if (!l1.ok()) return l1.status();
    recovered.l1 = *std::move(l1);
  }
  recovered.l0 = std::make_unique<storage::L0Stack>(view, buffer_options);
  Replay replay(recovered);
  absl::StatusOr<std::unique_ptr<storage::CommitLog>> log = storage::CommitLog::Open(
      files, log_options,
      {.floor_file = recovered.l1.head.log_floor,
       .flushed_version = recovered.l1.head.last_version,
       .durable_version = recovered.l1.ingested},
      [&replay](const LoggedBatch& batch) { return replay.Take(batch); }, &recovered.report);
  if (!log.ok()) return WithRemedy(log.status());
  recovered.log = *std::move(log);
  if (absl::Status status = replay.Finish(); !status.ok()) return status;
  view.Publish(std::max(recovered.log->last_version(), recovered.l1.ingested));
  return recovered;
}

}  // namespace millrace
