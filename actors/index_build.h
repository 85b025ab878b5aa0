#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "millrace/actors/adaptive_batch.h"
#include "millrace/actors/build_host.h"
#include "millrace/actors/index_merge.h"
#include "millrace/actors/index_scan.h"
#include "millrace/actors/index_verify.h"
#include "millrace/actors/progress_meter.h"
#include "millrace/storage/index_task.h"
#include "millrace/storage/run_sorter.h"

namespace millrace {

// A build under way, from its turn to its end. Each step does a bounded piece of work, or asks
// Writer or Committer and goes on with the answer. Owned by the Rebuilder thread.
//
//   begin      the Writer allocates the generation, the Committer is told: streams maintain it
//   fence      until every flush that may not know is published
//   scan       reads the source, sorts, writes runs; each run is a resume point
//   reduce     merges runs into fewer, if there are too many
//   merge      reads the runs as one, sends the entries; each slice is a resume point
//   catch up   unique values are claimed in the new generation, too; second fence
//   verify     count, duplicates, samples
//   flip       one put makes the generation the live one
class IndexBuild {
 public:
  // Reading no longer than this at a time lets a request be answered, and LMDB use its pages again.
  static constexpr absl::Duration kReadTarget = absl::Milliseconds(50);
  // So long may what one slice does hold the Writer's transaction.
  static constexpr absl::Duration kSliceTarget = absl::Milliseconds(20);

  struct Options {
    storage::Environment& environment;
    storage::RunDirectory& runs;
    size_t memory_bytes_max;
    uint64_t run_row_min;  // A run holds a sixteenth of the source, but not less than this.
  };

  // `plan` may be an error: then the build begins and fails of it.
  IndexBuild(BuildHost& host, const Options& options, storage::IndexTask task,
             absl::StatusOr<IndexPlan> plan, const ProgressMeter& meter);

  void Begin();
  // What was sorted is lost: the same attempt, into a new generation.
  void BeginAnew();
  // The next piece of work, if there is any but waiting.
  void Work();
  // What was read becomes a run, and its end the resume point. Does nothing but in a scan.
  absl::Status KeepRun();

  const storage::IndexTask& task() const { return task_; }
  void Update(const storage::IndexTask& task) { task_ = task; }
  const absl::StatusOr<IndexPlan>& plan() const { return plan_; }
  const ProgressMeter& meter() const { return meter_; }
  // It is complete.
  void ShowEnd();
  // The event of its failure: error, counts, samples.
  storage::TaskEvent Failure(const absl::Status& cause) const;

 private:
  // What there is to do when nothing is waited for.
  enum class Step : uint8_t { kWait, kScan, kReduce, kMerge, kVerify };
  template <typename T>
  BuildHost::Then<T> GoOn(void (IndexBuild::*step)(const T&));

  void Begun(const TaskChanged& begun);
  void BehindFence(const FlushReceipt& receipt);
  void OpenScan();
  void Scan();
  void Sorted(const TaskChanged& sorted);
  void OpenReduction();
  void Reduce();
  void OpenMerge();
  void Merge();
  void Applied(const TaskChanged& applied);
  void OpenVerify();
  void Verify();
  void Removed(const GenerationsRetired& removed);
  void Conclude();
  absl::Status DuplicatesError() const;
  void Reach(storage::BuildPhase phase, uint64_t completed, uint64_t total);
  void Show() { host_.Show(meter_.At(host_.Now())); }
  size_t RunsMax() const;

  BuildHost& host_;
  const Options options_;
  storage::IndexTask task_;  // As it was last answered.
  absl::StatusOr<IndexPlan> plan_;
  ProgressMeter meter_;
  Step step_ = Step::kWait;
  storage::GenerationState generations_;
  storage::ResumePoint resume_;  // As it will be when all that was sent is answered.
  storage::BuildCounts counts_;

  // Scan.
  std::optional<storage::RunSorter> sorter_;
  std::optional<IndexScan> scan_;
  uint64_t run_row_max_ = 0;
  uint64_t run_begin_ = 0;  // What was scanned when the run began.
  AdaptiveBatch read_batch_{kReadTarget};
  // Reduce and merge.
  std::optional<RunReduction> reduction_;
  size_t reduced_run_count_ = 0;
  std::optional<IndexMerge> merge_;
  size_t slices_under_way_ = 0;
  AdaptiveBatch slice_batch_{kSliceTarget};
  // Verify.
  std::optional<IndexVerify> verify_;
  uint64_t loser_count_ = 0;
};

}  // namespace millrace
