#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/index_truth.h"

#include "millrace/actors/engine.h"
#include "millrace/testing/manual_clock.h"
#include "millrace/testing/step_driver.h"

namespace millrace::testing {

// A whole engine stepped by hand, through its door: a call returns with the step that answers it,
// and everything else stays where it is. With a clock that is moved, and files that fail when told
// to. Thread-compatible.
class SteppedEngine {
 public:
  // Enough for several runs and slices: a run holds 5,000 records, a slice as many at first.
  static constexpr int kRecords = 18'000;

  static EngineOptions Options() {
    EngineOptions options;
    options.quota_bytes = uint64_t{1} << 30;
    options.rotate_interval = absl::InfiniteDuration();  // Fences alone rotate.
    options.rotate_rows = 1'000'000;
    options.log_file_bytes = uint64_t{4} << 20;
    options.rebuild_memory_bytes = uint64_t{8} << 20;
    return options;
  }

  // With streams held from the start, if `hold_streams`.
  explicit SteppedEngine(const std::string& directory, const EngineOptions& options = Options(),
                         bool hold_streams = false)
      : directory_(directory), streamer_count_(options.pending_flushes_max) {
    driver_.StopWhenAnswered();
    absl::StatusOr<std::unique_ptr<Engine>> engine =
        Engine::Open(directory, options, {.clock = clock_, .files = files_, .driver = &driver_});
    EXPECT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    if (hold_streams) HoldStreams();
    people_ = *engine_->CreateCollection("people");
  }

  Engine& engine() { return *engine_; }
  const storage::Collection& people() const { return people_; }
  FaultyFileSystem& files() { return files_; }
  ManualClock& clock() { return clock_; }
  StepDriver& driver() { return driver_; }

  static storage::Document Person(int64_t number, int64_t unique) {
    return *storage::DocumentBuilder()
                .Set("n", number % 1'000)
                .Set("u", absl::StrCat("u", unique))
                .Finish();
  }
  static std::string Id(int64_t number) { return absl::StrCat("p", number); }
  absl::Status Put(int64_t number, int64_t unique) {
    storage::WriteBatch batch;
    batch.Put(people_, Id(number), Person(number, unique));
    return engine_->Commit(std::move(batch)).Wait().status();
  }
  void Delete(int64_t number) {
    storage::WriteBatch batch;
    batch.Delete(people_, Id(number));
    ASSERT_TRUE(engine_->Commit(std::move(batch)).Wait().ok());
  }
  // Flushed.
  void Fill(int count = kRecords) {
    storage::WriteBatch batch;
    for (int i = 0; i < count; ++i) batch.Put(people_, Id(i), Person(i, i));
    ASSERT_TRUE(engine_->Commit(std::move(batch)).Wait().ok());
    Flush();
  }
  void Flush() { ASSERT_TRUE(engine_->Flush().Wait().ok()); }

  // A held streamer takes nothing up.
  void HoldStreams() {
    for (uint32_t i = 1; i <= streamer_count_; ++i) Actor(absl::StrCat("streamer-", i)).Freeze();
  }
  void ReleaseStreams() {
    for (uint32_t i = 1; i <= streamer_count_; ++i) Actor(absl::StrCat("streamer-", i)).Unfreeze();
    Idle();
  }
  Cell& Actor(std::string_view name) { return *driver_.Find(name); }

  IndexDefined Create(const storage::IndexOptions& options) {
    const absl::StatusOr<IndexDefined> defined = engine_->CreateIndex(people_, options);
    EXPECT_TRUE(defined.ok()) << defined.status();
    return defined.ok() ? *defined : IndexDefined();
  }
  // Built, or complete by birth.
  storage::IndexDefinition CreateComplete(const storage::IndexOptions& options) {
    const IndexDefined defined = Create(options);
    Idle();
    EXPECT_TRUE(Status(defined.definition).serves);
    return defined.definition;
  }
  storage::TaskId Schedule(const storage::BuildRequest& request) {
    const absl::StatusOr<storage::IndexTask> task = engine_->ScheduleBuild(request);
    EXPECT_TRUE(task.ok()) << task.status();
    return task.ok() ? task->id : 0;
  }
  storage::IndexTask Task(storage::TaskId task) { return *engine_->FindBuild(task); }
  IndexStatus Status(const storage::IndexDefinition& index) {
    return *engine_->GetIndexStatus(index);
  }
  std::vector<std::string> RunFiles() const {
    std::vector<std::string> names;
    for (const auto& file : std::filesystem::directory_iterator(directory_ + "/runs")) {
      names.push_back(file.path().filename());
    }
    return names;
  }

  void Idle() { driver_.StepUntilIdle(); }
  // Step by step; false if all are idle before.
  bool StepUntil(absl::FunctionRef<bool()> reached) {
    while (!reached()) {
      if (!driver_.StepNext()) return false;
    }
    return true;
  }
  bool StepUntil(const storage::IndexDefinition& index, storage::BuildPhase phase) {
    return StepUntil([&] {
      const IndexStatus status = Status(index);
      return status.progress.has_value() && status.progress->phase == phase &&
             status.task.has_value() && status.task->id == status.progress->task &&
             status.task->state != storage::TaskState::kComplete;
    });
  }
  // As a kill at this moment would leave it.
  void CopyTo(const std::string& directory) const {
    std::filesystem::copy(directory_, directory, std::filesystem::copy_options::recursive);
  }
  // Flushes and closes; what is wrong with the index then.
  std::string CloseAndFindFault(const storage::IndexDefinition& index) {
    Idle();
    Flush();
    Idle();
    engine_.reset();
    return IndexFault(directory_, index);
  }

 private:
  const std::string directory_;
  const uint32_t streamer_count_;
  ManualClock clock_;
  FaultyFileSystem files_{storage::SystemFileSystem()};
  StepDriver driver_{clock_};
  std::unique_ptr<Engine> engine_;
  storage::Collection people_;
};

}  // namespace millrace::testing
