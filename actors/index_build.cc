#include "millrace/actors/index_build.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"

namespace millrace {
namespace {

using storage::BuildPhase;
using storage::One;
using storage::TaskEvent;
using storage::TaskState;
using Kind = storage::TaskEvent::Kind;

// Slices at the Writer, so that it never waits for the next one. Together they make a transaction
// of the size that is wanted while clients commit.
constexpr size_t kSlicesMax = 4;
// Below this a slice is mostly its task's row.
constexpr size_t kSliceBytesMin = size_t{4} << 10;
// A kill at any time costs the scan a sixteenth of its work.
constexpr uint64_t kRunsPerSource = 16;

}  // namespace

IndexBuild::IndexBuild(BuildHost& host, const Options& options, storage::IndexTask task,
                       absl::StatusOr<IndexPlan> plan, const ProgressMeter& meter)
    : host_(host),
      options_(options),
      task_(std::move(task)),
      plan_(std::move(plan)),
      meter_(meter) {
}

// Goes on with the answer; an error is trouble.
template <typename T>
BuildHost::Then<T> IndexBuild::GoOn(void (IndexBuild::*step)(const T&)) {
  return [this, step](absl::StatusOr<T> answer) {
    if (!answer.ok()) return host_.Trouble(answer.status());
    (this->*step)(*answer);
  };
}

void IndexBuild::Begin() {
  Show();
  host_.ChangeTask(One({.kind = Kind::kBegin}), GoOn(&IndexBuild::Begun));
}

void IndexBuild::BeginAnew() {
  host_.ChangeTask(One({.kind = Kind::kRestart}), GoOn(&IndexBuild::Begun));
}

void IndexBuild::Begun(const TaskChanged& begun) {
  if (!plan_.ok()) return host_.Trouble(plan_.status());
  plan_->generation = begun.task.generation;
  generations_ = begun.generations;
  resume_ = begun.task.resume;
  counts_ = begun.task.counts;
  Reach(BuildPhase::kWaiting, 0, 0);
  host_.FenceBuild(GoOn(&IndexBuild::BehindFence));
}

void IndexBuild::BehindFence(const FlushReceipt& /*receipt*/) {
  if (task_.state == TaskState::kCatchUp) return OpenVerify();
  if (resume_.source_done) return OpenMerge();
  OpenScan();
}

void IndexBuild::Work() {
  switch (step_) {
    case Step::kWait:
      return;
    case Step::kScan:
      return Scan();
    case Step::kReduce:
      return Reduce();
    case Step::kMerge:
      return Merge();
    case Step::kVerify:
      return Verify();
  }
}

void IndexBuild::OpenScan() {
  scan_.emplace(options_.environment, *plan_, resume_.source_cursor, counts_);
  sorter_.emplace(options_.memory_bytes_max / 4);
  const absl::StatusOr<uint64_t> total = scan_->CountSource();
  if (!total.ok()) return host_.Trouble(total.status());
  resume_.source_total = *total;
  run_row_max_ = std::max(*total / kRunsPerSource, options_.run_row_min);
  run_begin_ = counts_.scanned;
  Reach(BuildPhase::kScan, counts_.scanned, *total);
  step_ = Step::kScan;
  host_.WorkAgain();
}

void IndexBuild::Scan() {
  const uint64_t before = scan_->counts().scanned;
  const uint64_t left = run_begin_ + run_row_max_ - before;
  const MonotonicTime begin = host_.Now();
  absl::Status status = scan_->Read(std::min<uint64_t>(read_batch_.rows(), left), &*sorter_);
  if (!status.ok()) return host_.Trouble(status);
  const uint64_t scanned = scan_->counts().scanned;
  read_batch_.Took(scanned - before, host_.Now() - begin);
  meter_.Advance(scanned);
  if (scan_->done()) meter_.Finish();
  Show();
  if (scan_->done() || sorter_->full() || scanned - run_begin_ >= run_row_max_) status = KeepRun();
  if (!status.ok()) return host_.Trouble(status);
  if (scan_->done()) {
    step_ = Step::kWait;
  } else {
    host_.WorkAgain();
  }
}

// The scan does not wait until the resume point is written.
absl::Status IndexBuild::KeepRun() {
  if (step_ != Step::kScan) return absl::OkStatus();
  if (!sorter_->empty()) {
    const absl::StatusOr<storage::RunInfo> run = sorter_->WriteRun(
        options_.runs, {.task = task_.id, .number = resume_.next_run}, /*sync=*/true);
    if (!run.ok()) return run.status();
    resume_.runs.push_back(*run);
    ++resume_.next_run;
  }
  resume_.source_cursor = scan_->cursor();
  resume_.source_done = scan_->done();
  resume_.record_count = scan_->record_count();
  counts_ = scan_->counts();
  run_begin_ = counts_.scanned;
  host_.ChangeTask(One({.kind = Kind::kSorted, .resume = resume_, .counts = counts_}),
                   GoOn(&IndexBuild::Sorted));
  return absl::OkStatus();
}

void IndexBuild::Sorted(const TaskChanged& sorted) {
  if (sorted.task.resume.source_done && step_ == Step::kWait) OpenMerge();
}

// Too many runs for a block of each in memory: the first of them become one.
void IndexBuild::OpenReduction() {
  reduced_run_count_ = RunsMax();
  absl::StatusOr<RunReduction> reduction =
      RunReduction::Begin(options_.runs, {.task = task_.id, .number = resume_.next_run++},
                          absl::MakeSpan(resume_.runs).subspan(0, reduced_run_count_));
  if (!reduction.ok()) return host_.Trouble(reduction.status());
  reduction_.emplace(*std::move(reduction));
  step_ = Step::kReduce;
  host_.WorkAgain();
}

void IndexBuild::Reduce() {
  const absl::StatusOr<bool> done = reduction_->Step(AdaptiveBatch::kRowsMax);
  if (!done.ok()) return host_.Trouble(done.status());
  if (!*done) return host_.WorkAgain();
  const absl::StatusOr<storage::RunInfo> run = reduction_->Finish();
  if (!run.ok()) return host_.Trouble(run.status());
  reduction_.reset();
  resume_.runs.erase(resume_.runs.begin(),
                     resume_.runs.begin() + static_cast<ptrdiff_t>(reduced_run_count_));
  resume_.runs.push_back(*run);
  step_ = Step::kWait;
  host_.ChangeTask(One({.kind = Kind::kSorted, .resume = resume_, .counts = counts_}),
                   GoOn(&IndexBuild::Sorted));
}

void IndexBuild::OpenMerge() {
  scan_.reset();
  sorter_.reset();
  resume_ = task_.resume;
  if (resume_.runs.size() > RunsMax() && resume_.applied_cursor.empty()) return OpenReduction();
  absl::StatusOr<IndexMerge> merge = IndexMerge::Open(options_.runs, task_.id, resume_);
  if (!merge.ok()) return host_.Trouble(merge.status());
  merge_.emplace(*std::move(merge));
  uint64_t total = 0;
  for (const storage::RunInfo& run : resume_.runs) total += run.entry_count;
  Reach(BuildPhase::kMerge, resume_.merged_entry_count, total);
  step_ = Step::kMerge;
  host_.WorkAgain();
}

// One slice; the last one says so, and is sent even if it is empty.
void IndexBuild::Merge() {
  if (slices_under_way_ >= kSlicesMax) return;
  absl::StatusOr<storage::EntryBatch> entries = merge_->Read(
      slice_batch_.rows(), std::max(host_.TransactionBytesMax() / kSlicesMax, kSliceBytesMin));
  if (!entries.ok()) return host_.Trouble(entries.status());
  ApplyEntries slice{.definition = plan_->definition,
                     .task = task_.id,
                     .generation = plan_->generation,
                     .after = resume_.applied_cursor,
                     .entries = *std::move(entries),
                     .merged_entry_count = merge_->entry_count(),
                     .last = merge_->done()};
  if (!slice.entries.empty()) resume_.applied_cursor = slice.entries.back().key;
  if (slice.last) step_ = Step::kWait;
  ++slices_under_way_;
  // It waits for those before it, so they share the time.
  const auto share = static_cast<int64_t>(slices_under_way_);
  const size_t rows = slice.entries.size();
  host_.Apply(std::move(slice),
              [this, rows, share, begin = host_.Now(),
               go_on = GoOn(&IndexBuild::Applied)](absl::StatusOr<TaskChanged> applied) mutable {
                slice_batch_.Took(rows, (host_.Now() - begin) / share);
                go_on(std::move(applied));
              });
  if (step_ == Step::kMerge && slices_under_way_ < kSlicesMax) host_.WorkAgain();
}

void IndexBuild::Applied(const TaskChanged& applied) {
  --slices_under_way_;
  meter_.Advance(applied.task.resume.merged_entry_count);
  if (applied.task.state != TaskState::kCatchUp) {
    Show();
    return host_.WorkAgain();
  }
  meter_.Finish();
  Show();
  merge_.reset();
  Reach(BuildPhase::kCatchUp, 0, 0);
  // From here on no commit gives a unique value a second owner, whichever generation will serve.
  if (plan_->definition.unique()) host_.Enforce(generations_);
  host_.FenceBuild(GoOn(&IndexBuild::BehindFence));
}

void IndexBuild::OpenVerify() {
  verify_.emplace(options_.environment, *plan_, task_.request.duplicates, generations_.live);
  Reach(BuildPhase::kVerify, 0, task_.resume.applied_entry_count);
  step_ = Step::kVerify;
  host_.WorkAgain();
}

void IndexBuild::Verify() {
  const absl::StatusOr<storage::Snapshot> snapshot = host_.TakeSnapshot();
  if (!snapshot.ok()) return host_.Trouble(snapshot.status());
  const uint64_t before = verify_->entry_count();
  const MonotonicTime begin = host_.Now();
  absl::Status status = verify_->Read(read_batch_.rows(), *snapshot);
  if (status.ok() && verify_->done()) {
    status = verify_->CheckSample(options_.runs, task_.id, task_.resume.runs);
  }
  if (!status.ok()) return host_.Trouble(status);
  read_batch_.Took(verify_->entry_count() - before, host_.Now() - begin);
  meter_.Advance(verify_->entry_count());
  if (verify_->done()) meter_.Finish();
  Show();
  RemoveEntries remove{.definition = plan_->definition,
                       .generation = plan_->generation,
                       .entries = verify_->TakeLosers()};
  loser_count_ += remove.entries.size();
  if (!remove.entries.empty()) {
    ++slices_under_way_;
    host_.Remove(std::move(remove), GoOn(&IndexBuild::Removed));
  }
  if (!verify_->done()) return host_.WorkAgain();
  step_ = Step::kWait;
  if (slices_under_way_ == 0) Conclude();
}

void IndexBuild::Removed(const GenerationsRetired& /*removed*/) {
  if (--slices_under_way_ == 0 && verify_->done()) Conclude();
}

// In one transaction the Writer judges the count and makes the generation the live one. That ends
// the build.
void IndexBuild::Conclude() {
  counts_.indexed = verify_->entry_count() - loser_count_;
  counts_.conflicts = verify_->conflict_count();
  if (counts_.conflicts > 0 && task_.request.duplicates == storage::DuplicatePolicy::kFail) {
    return host_.Trouble(DuplicatesError());
  }
  std::vector<TaskEvent> events;
  events.push_back({.kind = Kind::kVerified, .counts = counts_, .samples = verify_->samples()});
  events.push_back({.kind = Kind::kFlipped, .active = meter_.ActiveSince(host_.Now())});
  host_.ChangeTask(std::move(events), [this](absl::StatusOr<TaskChanged> flipped) {
    if (!flipped.ok()) host_.Trouble(flipped.status());
  });
}

absl::Status IndexBuild::DuplicatesError() const {
  std::string text = absl::StrCat(counts_.conflicts, " records have a value of the unique index '",
                                  plan_->definition.name, "' that another record has, too");
  const char* separator = ": ";
  for (const storage::DuplicateSample& sample : verify_->samples()) {
    absl::StrAppend(&text, separator, sample.value, " of ", absl::StrJoin(sample.ids, " and "));
    separator = "; ";
  }
  return absl::AlreadyExistsError(
      absl::StrCat(text, ". Change them, or build with a policy for duplicates"));
}

void IndexBuild::ShowEnd() {
  Reach(BuildPhase::kDone, task_.counts.indexed, task_.counts.indexed);
}

TaskEvent IndexBuild::Failure(const absl::Status& cause) const {
  TaskEvent event{.kind = Kind::kFail,
                  .active = meter_.ActiveSince(host_.Now()),
                  .counts = scan_.has_value() ? scan_->counts() : counts_,
                  .error = cause};
  if (verify_.has_value()) event.samples = verify_->samples();
  return event;
}

void IndexBuild::Reach(BuildPhase phase, uint64_t completed, uint64_t total) {
  meter_.Begin(phase, completed, total, host_.Now());
  Show();
}

size_t IndexBuild::RunsMax() const {
  return std::max<size_t>(2, options_.memory_bytes_max / 4 / storage::kRunBlockBytes);
}

}  // namespace millrace
