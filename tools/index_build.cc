#include "millrace/tools/index_build.h"

#include <unistd.h>

#include <iostream>

#include "millrace/tools/build_progress_bar.h"

namespace millrace {

absl::StatusOr<storage::TaskId> ScheduleRebuild(const OpenedCollection& opened,
                                                std::string_view index,
                                                storage::BuildRequest request) {
  const absl::StatusOr<storage::Snapshot> snapshot =
      opened.engine->TakeSnapshot("millrace command");
  if (!snapshot.ok()) return snapshot.status();
  const absl::StatusOr<storage::IndexDefinition> definition =
      snapshot->FindIndex(opened.collection, index);
  if (!definition.ok()) return definition.status();
  request.index = definition->id;
  const absl::StatusOr<storage::IndexTask> task = opened.engine->ScheduleBuild(request);
  if (!task.ok()) return task.status();
  return task->id;
}

absl::Status AwaitBuild(Engine& engine, storage::TaskId task) {
  BuildProgressBar bar(SystemClock(), std::cerr, ::isatty(STDERR_FILENO) == 1);
  const absl::StatusOr<storage::BuildResult> result = engine.WaitForBuild(
      task, absl::InfiniteDuration(), [&](const BuildProgress& progress) { bar.Update(progress); });
  if (!result.ok()) {
    bar.Clear();
    return result.status();
  }
  bar.Finish(*result);
  return absl::OkStatus();
}

}  // namespace millrace
