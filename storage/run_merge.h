#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "millrace/storage/sorted_run.h"

namespace millrace::storage {

// Reads several runs as one, in order: a tournament tree of losers (Knuth, volume 3, 5.4.1), so
// that each step costs one comparison per level. Takes one block of memory per run. Thread-
// compatible.
class RunMerge {
 public:
  // A bad run, naming the file, if one is missing or is not what `runs` says. At no entry yet.
  static absl::StatusOr<RunMerge> Open(RunDirectory& directory, uint64_t task,
                                       absl::Span<const RunInfo> runs);

  // To the first entry, and to the first one whose key is above `key`.
  void SeekToFirst();
  void SeekAfter(std::string_view key);
  void Next();
  // False behind the last entry, and after an error.
  bool Valid() const { return valid_; }
  absl::Status status() const { return status_; }
  // Require Valid(). The key's bytes end with the next move.
  RunEntry entry() const { return readers_[tree_[0]].entry(); }

 private:
  explicit RunMerge(std::vector<RunReader> readers);
  bool Beats(size_t one, size_t other) const;
  void Build();
  // What it would give behind a bad block is not known, so one bad run ends the merge.
  void Check(const RunReader& reader);

  std::vector<RunReader> readers_;
  // tree_[0] is the winner, tree_[i] the loser of the match at node i; the readers are the leaves,
  // reader r below node (readers + r) / 2.
  std::vector<size_t> tree_;
  bool valid_ = false;
  absl::Status status_;
};

}  // namespace millrace::storage
