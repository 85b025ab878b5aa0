// verify: whether a store is sound.

#include "millrace/storage/verify.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "millrace/storage/document.h"
#include "millrace/tools/import_progress.h"
#include "millrace/tools/open_store.h"
#include "millrace/tools/verbs.h"

namespace millrace {
namespace {

using storage::ToAbsl;
using storage::VerifyReport;

std::string ToText(std::string_view path, const VerifyReport& report) {
  std::string text = absl::StrCat("store        ", ToAbsl(path), "\n");
  if (report.sound()) {
    absl::StrAppend(&text, "verdict      sound\n");
  } else {
    absl::StrAppend(&text, "verdict      DAMAGED, in ", report.damage_count,
                    report.damage_count == 1 ? " place\n" : " places\n");
  }
  absl::StrAppend(&text, "versions     ", report.last_version, ", of which in LMDB ",
                  report.flushed_version, " (manifest ", report.manifest, ")\n");
  absl::StrAppend(&text, "pages        ", WithThousands(report.page_count), ", of which free ",
                  WithThousands(report.free_page_count), "\n");
  for (const storage::VerifiedTree& tree : report.trees) {
    absl::StrAppend(&text, "  ", tree.name, ": ", WithThousands(tree.rows), " rows on ",
                    WithThousands(tree.pages), " pages\n");
  }
  absl::StrAppend(&text, "log          ", WithThousands(report.log_batch_count), " batches in ",
                  report.log_file_count, " files\n");
  return text;
}

absl::StatusOr<std::string> ToJson(std::string_view path, const VerifyReport& report) {
  storage::DocumentBuilder json;
  json.BeginArray("damage");
  for (const std::string& damage : report.damage) json.Add(damage);
  json.End().Set("damage_count", report.damage_count);
  json.Set("flushed_version", report.flushed_version).Set("free_pages", report.free_page_count);
  json.Set("last_version", report.last_version).Set("log_batches", report.log_batch_count);
  json.Set("log_files", report.log_file_count).Set("manifest", report.manifest);
  json.BeginArray("notes");
  for (const std::string& note : report.notes) json.Add(note);
  json.End().Set("pages", report.page_count).Set("sound", report.sound()).Set("store", path);
  json.BeginArray("trees");
  for (const storage::VerifiedTree& tree : report.trees) {
    json.BeginObject().Set("name", tree.name).Set("pages", tree.pages).Set("rows", tree.rows);
    json.End();
  }
  const absl::StatusOr<storage::Document> document = json.End().Finish();
  if (!document.ok()) return document.status();
  return document->ToJson() + "\n";
}

}  // namespace

ExitCode RunVerify(const Arguments& arguments, Console& console) {
  const std::string_view path = arguments.operands[0];
  const absl::StatusOr<VerifyReport> report = storage::VerifyStore(path);
  if (!report.ok()) return Fail(console, "verify", report.status());
  if (arguments.Has("json")) {
    const absl::StatusOr<std::string> json = ToJson(path, *report);
    if (!json.ok()) return Fail(console, "verify", json.status());
    console.Print(*json);
  } else {
    console.Print(ToText(path, *report));
    for (const std::string& note : report->notes) console.Complain(absl::StrCat("note: ", note));
    for (const std::string& damage : report->damage) console.Complain(damage);
    if (report->damage_count > report->damage.size()) {
      console.Complain(absl::StrCat("and ", report->damage_count - report->damage.size(), " more"));
    }
  }
  return report->sound() ? ExitCode::kOk : ExitCode::kBadData;
}

}  // namespace millrace
