#include "millrace/storage/index_task.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/sealed_row.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kTaskFormat = 1;

constexpr std::array<std::string_view, 10> kStateNames = {
    "",       "pending",  "building", "catch-up",  "swapping",
    "paused", "complete", "failed",   "cancelled", "superseded"};
constexpr std::array<std::string_view, 7> kPhaseNames = {"",         "waiting", "scan", "merge",
                                                         "catch-up", "verify",  "done"};
// Infinite times are kept as such.
constexpr int64_t kNever = 0;

void AddTime(const char* name, absl::Time time, flexbuffers::Builder* builder) {
  const bool infinite = time == absl::InfiniteFuture() || time == absl::InfinitePast();
  builder->Int(name, infinite ? kNever : absl::ToUnixNanos(time));
}

absl::Time ReadTime(flexbuffers::Reference reference, absl::Time never) {
  const int64_t nanoseconds = reference.AsInt64();
  return nanoseconds == kNever ? never : absl::FromUnixNanos(nanoseconds);
}

void AddText(const char* name, std::string_view text, flexbuffers::Builder* builder) {
  builder->Key(name);
  builder->Blob(text.data(), text.size());
}

std::string ReadText(flexbuffers::Reference reference) {
  const flexbuffers::Blob blob = reference.AsBlob();
  return std::string(reinterpret_cast<const char*>(blob.data()), blob.size());
}

void AddRequest(const BuildRequest& request, flexbuffers::Builder* builder) {
  builder->UInt("index", request.index);
  builder->UInt("source", static_cast<uint64_t>(request.source));
  builder->UInt("duplicates", static_cast<uint64_t>(request.duplicates));
  builder->UInt("reason", static_cast<uint64_t>(request.reason));
  builder->UInt("priority", request.priority);
}

BuildRequest ReadRequest(flexbuffers::Map map) {
  return {.index = map["index"].AsUInt64(),
          .source = static_cast<BuildSource>(map["source"].AsUInt8()),
          .duplicates = static_cast<DuplicatePolicy>(map["duplicates"].AsUInt8()),
          .reason = static_cast<BuildReason>(map["reason"].AsUInt8()),
          .priority = map["priority"].AsUInt32()};
}

void AddCounts(const BuildCounts& counts, flexbuffers::Builder* builder) {
  builder->UInt("scanned", counts.scanned);
  builder->UInt("live_count", counts.live);
  builder->UInt("indexed", counts.indexed);
  builder->UInt("skipped_blank", counts.skipped_blank);
  builder->UInt("missing", counts.missing);
  builder->UInt("conflicts", counts.conflicts);
}

BuildCounts ReadCounts(flexbuffers::Map map) {
  return {.scanned = map["scanned"].AsUInt64(),
          .live = map["live_count"].AsUInt64(),
          .indexed = map["indexed"].AsUInt64(),
          .skipped_blank = map["skipped_blank"].AsUInt64(),
          .missing = map["missing"].AsUInt64(),
          .conflicts = map["conflicts"].AsUInt64()};
}

// Runs are a flat vector: number, entries, blocks, ...
void AddResume(const ResumePoint& resume, flexbuffers::Builder* builder) {
  builder->UInt("record_count", resume.record_count);
  builder->UInt("source_total", resume.source_total);
  AddText("source_cursor", resume.source_cursor, builder);
  builder->Bool("source_done", resume.source_done);
  builder->Vector("runs", [&] {
    for (const RunInfo& run : resume.runs) {
      builder->UInt(run.number);
      builder->UInt(run.entry_count);
      builder->UInt(run.block_count);
    }
  });
  builder->UInt("next_run", resume.next_run);
  AddText("applied_cursor", resume.applied_cursor, builder);
  builder->Bool("applied_done", resume.applied_done);
  builder->UInt("applied_entry_count", resume.applied_entry_count);
  builder->UInt("merged_entry_count", resume.merged_entry_count);
  builder->UInt("maintained_count", resume.maintained_count);
}

ResumePoint ReadResume(flexbuffers::Map map) {
  ResumePoint resume{.record_count = map["record_count"].AsUInt64(),
                     .source_total = map["source_total"].AsUInt64(),
                     .source_cursor = ReadText(map["source_cursor"]),
                     .source_done = map["source_done"].AsBool(),
                     .next_run = map["next_run"].AsUInt64(),
                     .applied_cursor = ReadText(map["applied_cursor"]),
                     .applied_done = map["applied_done"].AsBool(),
                     .applied_entry_count = map["applied_entry_count"].AsUInt64(),
                     .merged_entry_count = map["merged_entry_count"].AsUInt64(),
                     .maintained_count = map["maintained_count"].AsUInt64()};
  const flexbuffers::Vector runs = map["runs"].AsVector();
  for (size_t i = 0; i + 2 < runs.size(); i += 3) {
    resume.runs.push_back({.number = runs[i].AsUInt64(),
                           .entry_count = runs[i + 1].AsUInt64(),
                           .block_count = runs[i + 2].AsUInt64()});
  }
  return resume;
}

void AddSamples(const std::vector<DuplicateSample>& samples, flexbuffers::Builder* builder) {
  builder->Vector("samples", [&] {
    for (const DuplicateSample& sample : samples) {
      builder->Vector([&] {
        builder->Blob(sample.value.data(), sample.value.size());
        builder->Blob(sample.owner.data(), sample.owner.size());
        for (const std::string& id : sample.ids) builder->Blob(id.data(), id.size());
      });
    }
  });
}

std::vector<DuplicateSample> ReadSamples(flexbuffers::Vector vector) {
  std::vector<DuplicateSample> samples;
  for (size_t i = 0; i < vector.size(); ++i) {
    const flexbuffers::Vector parts = vector[i].AsVector();
    DuplicateSample sample{.value = ReadText(parts[0]), .owner = ReadText(parts[1])};
    for (size_t id = 2; id < parts.size(); ++id) sample.ids.push_back(ReadText(parts[id]));
    samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace

std::string_view ToString(TaskState state) {
  return kStateNames[static_cast<size_t>(state)];
}
std::string_view ToString(BuildPhase phase) {
  return kPhaseNames[static_cast<size_t>(phase)];
}
BuildResult ResultOf(const IndexTask& task) {
  return {{task.counts}, task.active, task.samples};
}

// Index 0 is none, so the counter stands before all tasks.
std::string TaskCounterKey() {
  return TaskPrefix(0);
}

std::string TaskPrefix(IndexId index) {
  std::string key;
  AppendOrderedInteger(index, &key);
  return key;
}

std::string TaskKey(IndexId index, TaskId task) {
  std::string key = TaskPrefix(index);
  AppendOrderedInteger(task, &key);
  return key;
}

std::string EncodeTask(const IndexTask& task) {
  flexbuffers::Builder builder;
  builder.Map([&] {
    builder.UInt("format", kTaskFormat);
    builder.UInt("id", task.id);
    AddRequest(task.request, &builder);
    builder.UInt("definition", task.definition);
    builder.UInt("generation", task.generation);
    builder.UInt("state", static_cast<uint64_t>(task.state));
    builder.UInt("phase", static_cast<uint64_t>(task.phase));
    builder.UInt("attempts", task.attempts);
    AddTime("next_attempt_at", task.next_attempt_at, &builder);
    AddTime("created_at", task.created_at, &builder);
    AddTime("started_at", task.started_at, &builder);
    AddTime("finished_at", task.finished_at, &builder);
    builder.Int("active_ns", absl::ToInt64Nanoseconds(task.active));
    AddCounts(task.counts, &builder);
    AddResume(task.resume, &builder);
    AddSamples(task.samples, &builder);
    builder.Int("error_code", task.error.raw_code());
    AddText("error", FromAbsl(task.error.message()), &builder);
  });
  return SealRow(&builder);
}

absl::StatusOr<IndexTask> DecodeTask(std::string_view bytes) {
  const absl::StatusOr<std::string> body =
      UnsealRow(bytes, "row of an index build", "cancel the build and ask for it again");
  if (!body.ok()) return body.status();
  const flexbuffers::Map map = RowMap(*body);
  if (const uint64_t format = map["format"].AsUInt64(); format != kTaskFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat("a newer version wrote the row of an index build, in format ", format,
                     "; open the store with that version"));
  }
  IndexTask task{.id = map["id"].AsUInt64(),
                 .request = ReadRequest(map),
                 .definition = map["definition"].AsUInt64(),
                 .generation = map["generation"].AsUInt64(),
                 .state = static_cast<TaskState>(map["state"].AsUInt8()),
                 .phase = static_cast<BuildPhase>(map["phase"].AsUInt8()),
                 .attempts = map["attempts"].AsUInt32(),
                 .next_attempt_at = ReadTime(map["next_attempt_at"], absl::InfiniteFuture()),
                 .created_at = ReadTime(map["created_at"], absl::InfinitePast()),
                 .started_at = ReadTime(map["started_at"], absl::InfinitePast()),
                 .finished_at = ReadTime(map["finished_at"], absl::InfinitePast()),
                 .active = absl::Nanoseconds(map["active_ns"].AsInt64()),
                 .counts = ReadCounts(map),
                 .resume = ReadResume(map),
                 .samples = ReadSamples(map["samples"].AsVector())};
  task.error = absl::Status(static_cast<absl::StatusCode>(map["error_code"].AsInt32()),
                            ToAbsl(ReadText(map["error"])));
  return task;
}

}  // namespace millrace::storage
