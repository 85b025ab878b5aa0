#include "millrace/actors/flush_streamer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

#include "millrace/storage/meta.h"

namespace millrace {

Supervision FlushStreamer::Supervised() {
  Supervision supervision = Supervision::Restart(/*restart_max=*/1'000);
  supervision.backoff_max = absl::Milliseconds(100);
  return supervision;
}

FlushStreamer::FlushStreamer(const ActorOptions& actor_options, storage::Environment& environment,
                             storage::CommitLog& log)
    : Actor(actor_options), environment_(environment), log_(log) {
}

void FlushStreamer::Handle(Stream stream, Reply<Streamed> reply) {
  reply.Send(WorkOut(stream));
}

// Nothing of this flush is under way at the Writer, so where L1 stands with it does not change
// between the two reads.
absl::StatusOr<Streamed> FlushStreamer::WorkOut(Stream& stream) {
  const MonotonicTime deadline = clock().Now() + stream.timeout;
  FlushJob& job = stream.job;
  {
    const absl::StatusOr<storage::ReadTransaction> transaction = environment_.BeginRead();
    if (!transaction.ok()) return transaction.status();
    absl::StatusOr<storage::L1State> l1 = storage::ReadL1State(*transaction);
    if (!l1.ok()) return l1.status();
    if (l1->head.id >= job.sequence) return Streamed{.published = true};
    const bool begun = l1->flush.has_value() && l1->flush->sequence == job.sequence;
    job.resume_after = begun ? std::move(l1->flush->cursor) : "";
    job.resume_slice = begun ? l1->flush->next_slice : 0;
  }
  absl::StatusOr<std::vector<Slice>> slices =
      BuildSlices(job, environment_, SliceLimits{}, [&]() -> absl::Status {
        PrepareStep();
        if (discarding()) return absl::CancelledError("the engine is stopping");
        if (clock().Now() < deadline) return absl::OkStatus();
        return absl::DeadlineExceededError(
            absl::StrCat("flush ", job.sequence, " attempt ", job.attempt,
                         " was streamed for longer than ", absl::FormatDuration(stream.timeout)));
      });
  if (!slices.ok()) return slices.status();
  return Streamed{.slices = *std::move(slices)};
}

void FlushStreamer::Handle(Retired retired) {
  if (const absl::Status status = log_.Recycle(retired.log_floor); !status.ok()) {
    LOG(WARNING) << "FlushStreamer: log files are kept for now: " << status;
  }
}

void FlushStreamer::Handle(PrepareLog /*prepare*/) {
  while (PrepareStep()) {
  }
}

bool FlushStreamer::PrepareStep() {
  if (!log_.wants_next_file()) return false;
  const absl::StatusOr<bool> more = log_.PrepareStep();
  // The Committer meets the same trouble when it needs the file, and tells its clients.
  return more.ok() && *more;
}

}  // namespace millrace
