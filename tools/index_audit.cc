// index audit: whether indexes, relations and counts agree with the records.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "millrace/storage/document.h"
#include "millrace/tools/import_progress.h"
#include "millrace/tools/open_store.h"
#include "millrace/tools/verbs.h"

namespace millrace {
namespace {

using storage::AuditFault;
using storage::AuditPart;
using storage::AuditReport;
using storage::ToAbsl;

constexpr char kDoing[] = "index audit";

// What was asked for: an audit, and, if a repair, what it did.
struct AuditOutcome {
  AuditReport audit;
  std::vector<RepairStage> stages;
  bool repaired = false;
};

std::string Subject(storage::AuditDimension dimension, const std::string& name) {
  return absl::StrCat(ToAbsl(storage::ToString(dimension)), "  ", name, "  ");
}

std::string Verdict(const AuditPart& part) {
  if (!part.checked()) return absl::StrCat("NOT CHECKED: ", part.not_checked.message());
  std::string text = absl::StrCat(WithThousands(part.examined), " examined");
  for (size_t i = 0; i < storage::kAuditFaults; ++i) {
    if (part.faults[i] == 0) continue;
    absl::StrAppend(&text, ", ", part.faults[i], " ",
                    ToAbsl(storage::ToString(static_cast<AuditFault>(i))));
  }
  if (part.under_way > 0) absl::StrAppend(&text, ", ", part.under_way, " under way");
  return absl::StrCat(text, part.fault_count() == 0 ? ", healthy" : "");
}

std::string Done(const RepairStage& stage) {
  return stage.status.ok() ? absl::StrCat(stage.put, " put, ", stage.removed, " removed, ",
                                          stage.left, " left as they are")
                           : absl::StrCat("FAILED: ", stage.status.message());
}

void PrintText(const AuditOutcome& outcome, Console& console) {
  for (const RepairStage& stage : outcome.stages) {
    console.Print(
        absl::StrCat("repaired  ", Subject(stage.dimension, stage.name), Done(stage), "\n"));
  }
  for (const AuditPart& part : outcome.audit.parts) {
    console.Print(absl::StrCat(Subject(part.dimension, part.name), Verdict(part), "\n"));
    for (const std::string& sample : part.samples) {
      console.Complain(absl::StrCat(part.name, ": ", sample));
    }
    if (part.fault_count() > part.samples.size()) {
      console.Complain(
          absl::StrCat(part.name, ": and ", part.fault_count() - part.samples.size(), " more"));
    }
  }
}

void AddPart(const AuditPart& part, storage::DocumentBuilder& json) {
  json.BeginObject().Set("dimension", storage::ToString(part.dimension));
  json.Set("examined", part.examined).BeginObject("faults");
  for (size_t i = 0; i < storage::kAuditFaults; ++i) {
    json.Set(storage::ToString(static_cast<AuditFault>(i)), part.faults[i]);
  }
  json.End().Set("name", part.name);
  if (!part.checked()) json.Set("not_checked", storage::FromAbsl(part.not_checked.message()));
  json.BeginArray("samples");
  for (const std::string& sample : part.samples) json.Add(sample);
  json.End().Set("under_way", part.under_way).End();
}

absl::StatusOr<std::string> ToJson(std::string_view path, const AuditOutcome& outcome) {
  storage::DocumentBuilder json;
  json.Set("complete", outcome.audit.complete()).Set("healthy", outcome.audit.healthy());
  json.BeginArray("parts");
  for (const AuditPart& part : outcome.audit.parts) AddPart(part, json);
  json.End();
  if (outcome.repaired) {
    json.BeginArray("repaired");
    for (const RepairStage& stage : outcome.stages) {
      json.BeginObject().Set("dimension", storage::ToString(stage.dimension));
      if (!stage.status.ok()) json.Set("error", storage::FromAbsl(stage.status.message()));
      json.Set("left", stage.left).Set("name", stage.name);
      json.Set("put", stage.put).Set("removed", stage.removed).End();
    }
    json.End();
  }
  const absl::StatusOr<storage::Document> document = json.Set("store", path).Finish();
  if (!document.ok()) return document.status();
  return document->ToJson() + "\n";
}

storage::AuditOptions OptionsOf(const Arguments& arguments) {
  storage::AuditOptions options;
  if (arguments.operands.size() > 1) options.collection = std::string(arguments.operands[1]);
  if (arguments.operands.size() > 2) options.index = std::string(arguments.operands[2]);
  return options;
}

absl::StatusOr<AuditOutcome> Audit(Engine& engine, const Arguments& arguments) {
  const storage::AuditOptions options = OptionsOf(arguments);
  const absl::StatusOr<FlushReceipt> flushed = engine.Flush().Wait();
  if (!flushed.ok()) return flushed.status();
  if (!arguments.Has("repair")) {
    absl::StatusOr<AuditReport> report = engine.Audit(options);
    if (!report.ok()) return report.status();
    return AuditOutcome{.audit = *std::move(report)};
  }
  absl::StatusOr<RepairReport> repair = engine.Repair(options);
  if (!repair.ok()) return repair.status();
  return AuditOutcome{
      .audit = std::move(repair->after), .stages = std::move(repair->stages), .repaired = true};
}

// A part that is not checked because something is wrong with it is no healthy one.
ExitCode Judge(const AuditOutcome& outcome, Console& console) {
  ExitCode code = outcome.audit.healthy() ? ExitCode::kOk : ExitCode::kBadData;
  for (const AuditPart& part : outcome.audit.parts) {
    if (part.checked() || absl::IsFailedPrecondition(part.not_checked)) continue;
    const ExitCode failed = Fail(console, part.name, part.not_checked);
    if (code == ExitCode::kOk) code = failed;
  }
  for (const RepairStage& stage : outcome.stages) {
    if (stage.status.ok() || absl::IsFailedPrecondition(stage.status)) continue;
    const ExitCode failed = Fail(console, stage.name, stage.status);
    if (code == ExitCode::kOk) code = failed;
  }
  return code;
}

}  // namespace

ExitCode RunIndexAudit(const Arguments& arguments, Console& console) {
  const absl::StatusOr<std::unique_ptr<Engine>> engine = OpenExistingStore(arguments.operands[0]);
  if (!engine.ok()) return Fail(console, kDoing, engine.status());
  const absl::StatusOr<AuditOutcome> outcome = Audit(**engine, arguments);
  if (!outcome.ok()) return Fail(console, kDoing, outcome.status());
  if (arguments.Has("json")) {
    const absl::StatusOr<std::string> json = ToJson(arguments.operands[0], *outcome);
    if (!json.ok()) return Fail(console, kDoing, json.status());
    console.Print(*json);
  } else {
    PrintText(*outcome, console);
  }
  return Judge(*outcome, console);
}

}  // namespace millrace
