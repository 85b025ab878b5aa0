#include "millrace/storage/run_merge.h"

#include <utility>

namespace millrace::storage {

absl::StatusOr<RunMerge> RunMerge::Open(RunDirectory& directory, uint64_t task,
                                        absl::Span<const RunInfo> runs) {
  std::vector<RunReader> readers;
  readers.reserve(runs.size());
  for (const RunInfo& run : runs) {
    absl::StatusOr<RunReader> reader = RunReader::Open(directory, task, run);
    if (!reader.ok()) return reader.status();
    readers.push_back(*std::move(reader));
  }
  return RunMerge(std::move(readers));
}

RunMerge::RunMerge(std::vector<RunReader> readers)
    : readers_(std::move(readers)), tree_(readers_.size()) {
}

void RunMerge::SeekToFirst() {
  for (RunReader& reader : readers_) reader.SeekToFirst();
  Build();
}

void RunMerge::SeekAfter(std::string_view key) {
  for (RunReader& reader : readers_) reader.SeekAfter(key);
  Build();
}

// The winner's reader moves on, and plays its way up again.
void RunMerge::Next() {
  size_t winner = tree_[0];
  readers_[winner].Next();
  Check(readers_[winner]);
  for (size_t node = (readers_.size() + winner) / 2; node > 0; node /= 2) {
    if (Beats(tree_[node], winner)) std::swap(tree_[node], winner);
  }
  tree_[0] = winner;
  valid_ = status_.ok() && readers_[winner].Valid();
}

// A reader at its end loses against all others; of equal entries the earlier run's comes first.
bool RunMerge::Beats(size_t one, size_t other) const {
  if (!readers_[one].Valid()) return false;
  if (!readers_[other].Valid()) return true;
  const RunEntry first = readers_[one].entry();
  const RunEntry second = readers_[other].entry();
  if (first < second) return true;
  return !(second < first) && one < other;
}

void RunMerge::Build() {
  const size_t count = readers_.size();
  valid_ = false;
  if (count == 0) return;
  std::vector<size_t> winners(2 * count);
  for (size_t reader = 0; reader < count; ++reader) winners[count + reader] = reader;
  for (size_t node = count - 1; node > 0; --node) {
    const size_t left = winners[2 * node];
    const size_t right = winners[2 * node + 1];
    const bool left_wins = Beats(left, right);
    winners[node] = left_wins ? left : right;
    tree_[node] = left_wins ? right : left;
  }
  tree_[0] = winners[1];
  for (const RunReader& reader : readers_) Check(reader);
  valid_ = status_.ok() && readers_[tree_[0]].Valid();
}

void RunMerge::Check(const RunReader& reader) {
  if (!reader.status().ok() && status_.ok()) status_ = reader.status();
}

}  // namespace millrace::storage
