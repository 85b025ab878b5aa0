#include "millrace/actors/flush_streamer.h"

#include <utility>

#include "glog/logging.h"

namespace millrace {

FlushStreamer::FlushStreamer(const ActorOptions& actor_options, storage::Environment& environment,
                             storage::CommitLog& log, FlushFinalizer& finalizer)
    : Actor(actor_options), environment_(environment), log_(log), finalizer_(finalizer) {
}

void FlushStreamer::Handle(Rotated rotated, Reply<FlushPublished> reply) {
  absl::StatusOr<std::vector<Slice>> slices =
      BuildSlices(rotated.job, environment_, SliceLimits{}, [this] { PrepareStep(); });
  if (!slices.ok()) return reply.Send(slices.status());
  finalizer_.Ask(Streamed{.job = std::move(rotated.job), .slices = *std::move(slices)},
                 std::move(reply));
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
