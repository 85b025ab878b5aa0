// stat: what a store holds and how it is.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "millrace/tools/import_progress.h"
#include "millrace/tools/open_store.h"
#include "millrace/tools/verbs.h"

namespace millrace {
namespace {

struct CollectionCount {
  storage::Collection collection;
  uint64_t documents = 0;
};

absl::StatusOr<std::vector<CollectionCount>> CountAll(Engine& engine) {
  const absl::StatusOr<storage::Snapshot> snapshot = engine.TakeSnapshot("millrace command");
  if (!snapshot.ok()) return snapshot.status();
  const absl::StatusOr<std::vector<storage::Collection>> collections = snapshot->ListCollections();
  if (!collections.ok()) return collections.status();
  std::vector<CollectionCount> counts;
  for (const storage::Collection& collection : *collections) {
    const absl::StatusOr<uint64_t> documents = snapshot->Count(collection);
    if (!documents.ok()) return documents.status();
    counts.push_back({.collection = collection, .documents = *documents});
  }
  return counts;
}

std::string HealthText(const EngineStatus& status) {
  return status.health.ok() ? "ok" : status.health.ToString();
}

// Milliseconds below which 99 of 100 are.
double SlowestMilliseconds(const HistogramSnapshot& nanoseconds) {
  return static_cast<double>(nanoseconds.Percentile(0.99)) / 1e6;
}

std::string FlushText(const FlushStatus& flush) {
  return absl::StrFormat(
      "flushes      %d published, %d pending (%d streamed out of turn), %d skipped\n"
      "             %d retried, %d abandoned, %d timed out\n"
      "             p99 of rotate %.3f ms, stream %.1f ms, publish %.1f ms\n",
      flush.published, flush.pending, flush.reorder_depth, flush.skipped, flush.retried,
      flush.abandoned, flush.timeouts, SlowestMilliseconds(flush.rotate_ns),
      SlowestMilliseconds(flush.stream_ns), SlowestMilliseconds(flush.publish_ns));
}

void SetFlush(const FlushStatus& flush, storage::DocumentBuilder& json) {
  json.BeginObject("flush").Set("abandoned", flush.abandoned).Set("pending", flush.pending);
  json.Set("publish_p99_ms", SlowestMilliseconds(flush.publish_ns));
  json.Set("published", flush.published).Set("reorder_depth", flush.reorder_depth);
  json.Set("reorder_depth_high_water", flush.reorder_depth_high_water);
  json.Set("retried", flush.retried).Set("rotate_p99_ms", SlowestMilliseconds(flush.rotate_ns));
  json.Set("rotated", flush.rotated).Set("skipped", flush.skipped);
  json.Set("stream_p99_ms", SlowestMilliseconds(flush.stream_ns));
  json.Set("timeouts", flush.timeouts).End();
}

std::string ToText(std::string_view path, const EngineStatus& status,
                   const std::vector<CollectionCount>& counts) {
  constexpr double kMebibyte = 1 << 20;
  std::string text = absl::StrFormat(
      "store        %s\nhealth       %s\nversion      %d, of which in LMDB %d (manifest %d)\n"
      "space        %.1f MiB used of %.1f MiB\nmemory       %.1f MiB not yet in LMDB\n"
      "waiting      %d commits, %s apart\n%slog epoch    %d\ncollections  %d\n",
      storage::ToAbsl(path), HealthText(status), status.published_version, status.flushed_version,
      status.manifest, static_cast<double>(status.used_bytes) / kMebibyte,
      static_cast<double>(status.quota_bytes) / kMebibyte,
      static_cast<double>(status.l0_bytes) / kMebibyte, status.parked_commits,
      absl::FormatDuration(status.admission_delay), FlushText(status.flush), status.epoch,
      counts.size());
  for (const CollectionCount& count : counts) {
    absl::StrAppend(&text, "  ", count.collection.name, ": ", WithThousands(count.documents),
                    count.documents == 1 ? " document\n" : " documents\n");
  }
  return text;
}

absl::StatusOr<std::string> ToJson(std::string_view path, const EngineStatus& status,
                                   const std::vector<CollectionCount>& counts) {
  storage::DocumentBuilder json;
  json.BeginArray("actors");
  for (const ActorStatus& actor : status.actors) {
    json.BeginObject().Set("accepted", actor.accepted).Set("depth", actor.depth);
    json.Set("failed", actor.failed).Set("handled", actor.handled).Set("name", actor.name);
    json.Set("state", ActorStateName(actor.state)).End();
  }
  json.End().BeginArray("collections");
  for (const CollectionCount& count : counts) {
    json.BeginObject().Set("documents", count.documents).Set("id", count.collection.id);
    json.Set("name", count.collection.name).End();
  }
  json.End().Set("degraded", !status.degraded.ok()).Set("epoch", status.epoch);
  SetFlush(status.flush, json);
  json.Set("flushed_version", status.flushed_version);
  json.Set("health", HealthText(status)).Set("l0_bytes", status.l0_bytes);
  json.Set("l0_hard_bytes_max", status.l0_hard_bytes_max);
  json.Set("l0_soft_bytes_max", status.l0_soft_bytes_max);
  json.Set("manifest", status.manifest).Set("parked_commits", status.parked_commits);
  json.Set("published_version", status.published_version);
  json.Set("quota_bytes", status.quota_bytes).Set("store", path);
  const absl::StatusOr<storage::Document> document =
      json.Set("used_bytes", status.used_bytes).Finish();
  if (!document.ok()) return document.status();
  return document->ToJson() + "\n";
}

}  // namespace

ExitCode RunStat(const Arguments& arguments, Console& console) {
  const std::string_view path = arguments.operands[0];
  const absl::StatusOr<std::unique_ptr<Engine>> engine = OpenExistingStore(path);
  if (!engine.ok()) return Fail(console, "stat", engine.status());
  const absl::StatusOr<std::vector<CollectionCount>> counts = CountAll(**engine);
  if (!counts.ok()) return Fail(console, "stat", counts.status());
  const EngineStatus status = (*engine)->GetStatus();
  if (!arguments.Has("json")) {
    console.Print(ToText(path, status, *counts));
    return ExitCode::kOk;
  }
  const absl::StatusOr<std::string> json = ToJson(path, status, *counts);
  if (!json.ok()) return Fail(console, "stat", json.status());
  console.Print(*json);
  return ExitCode::kOk;
}

}  // namespace millrace
