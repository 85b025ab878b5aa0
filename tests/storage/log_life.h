#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/testing/power_loss_file_system.h"

#include "millrace/storage/commit_log.h"

namespace millrace::storage {

// One life of a commit log under test: what Open answered, and what it replayed. Move-only value.
struct LogLife {
  absl::Status status;
  std::unique_ptr<CommitLog> log;  // Null unless status is OK.
  LogReport report;
  std::vector<std::pair<Version, std::string>> replayed;

  Version first_replayed() const { return replayed.empty() ? 0 : replayed.front().first; }
  Version last_replayed() const { return replayed.empty() ? 0 : replayed.back().first; }
};

inline CommitLogOptions SmallLog(uint64_t file_bytes = 4096) {
  return {.directory = "/log",
          .file_bytes = file_bytes,
          .spare_files_max = 2,
          .preallocate_step_bytes = 1024};
}

inline LogLife OpenLog(FileSystem& files, const CommitLogOptions& options,
                       const LogStart& start = {}) {
  LogLife life;
  const auto replay = [&life](const LoggedBatch& batch) {
    life.replayed.emplace_back(batch.version, std::string(batch.effects));
    return absl::OkStatus();
  };
  absl::StatusOr<std::unique_ptr<CommitLog>> log =
      CommitLog::Open(files, options, start, replay, &life.report);
  life.status = log.status();
  if (log.ok()) life.log = *std::move(log);
  return life;
}

// The effects that the tests give to the batch of a version: recognizable, of different lengths.
inline std::string EffectsOf(Version version, size_t size_max = 97) {
  std::string effects = "effects of " + std::to_string(version) + ":";
  const size_t size = effects.size() + version * 31 % size_max;
  while (effects.size() < size) effects.push_back(static_cast<char>('a' + effects.size() % 26));
  return effects;
}

// Fills and writes one group of `count` batches; syncs it if asked.
inline absl::Status AppendGroup(CommitLog& log, int count, bool sync = true, size_t size_max = 97) {
  LogGroup& group = log.BeginGroup();
  for (int i = 0; i < count; ++i) group.Add(EffectsOf(group.first_version() + i, size_max));
  if (absl::Status s = log.Reserve(group.bytes()); !s.ok()) return s;
  if (absl::Status s = log.Append(); !s.ok()) return s;
  return sync ? log.Sync() : absl::OkStatus();
}

// Empty if `life` replayed exactly the versions [first, last] with their effects; else what
// differs.
inline std::string ReplayFault(const LogLife& life, Version first, Version last,
                               size_t size_max = 97) {
  if (!life.status.ok()) return life.status.ToString();
  Version next = first;
  for (const auto& [version, effects] : life.replayed) {
    if (version != next) {
      return "version " + std::to_string(version) + " where " + std::to_string(next) + " must be";
    }
    if (effects != EffectsOf(version, size_max)) {
      return "wrong effects of version " + std::to_string(version);
    }
    ++next;
  }
  if (next != last + 1) {
    return "ends with " + std::to_string(next - 1) + ", not with " + std::to_string(last);
  }
  return {};
}

}  // namespace millrace::storage
