#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"

#include "millrace/messages/flush.h"
#include "millrace/storage/commit_log.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/file_system.h"
#include "millrace/storage/l0_stack.h"
#include "millrace/storage/live_view.h"
#include "millrace/storage/meta.h"

namespace millrace {

// What an engine finds when it opens a store: the log, ready for this life, and L0 with everything
// that the log holds and LMDB does not. Value; move-only.
struct Recovered {
  std::unique_ptr<storage::CommitLog> log;
  std::unique_ptr<storage::L0Stack> l0;
  storage::L1State l1;
  // The flush that was under way, its buffer already sealed: to be streamed first.
  std::optional<FlushJob> resumed;
  // Of the batches in the active buffer.
  storage::Version active_first_version = storage::kNoVersion;
  std::vector<storage::RememberedCommit> active_outcomes;
  storage::LogReport report;
};

// Reads where LMDB stands, replays the log behind it, and shows the result in `view`. Before any
// actor starts. DataLoss: damage, naming file and offset.
absl::StatusOr<Recovered> Recover(storage::Environment& environment, storage::FileSystem& files,
                                  const storage::CommitLogOptions& log_options,
                                  const storage::L0Buffer::Options& buffer_options,
                                  storage::LiveView& view);

}  // namespace millrace
