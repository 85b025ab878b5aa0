// scan, count: a whole collection.

#include <cstdint>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"

#include "millrace/tools/document_line.h"
#include "millrace/tools/open_store.h"
#include "millrace/tools/verbs.h"

namespace millrace {
ExitCode RunScan(const Arguments& arguments, Console& console) {
  const absl::StatusOr<std::optional<uint64_t>> limit = arguments.Number("limit");
  if (!limit.ok()) {
    console.Complain("scan", limit.status());
    return ExitCode::kUsage;
  }
  const absl::StatusOr<OpenedCollection> opened =
      OpenExistingCollection(arguments.operands[0], arguments.operands[1]);
  if (!opened.ok()) return Fail(console, "scan", opened.status());
  const absl::StatusOr<storage::Snapshot> snapshot =
      opened->engine->TakeSnapshot("millrace command");
  if (!snapshot.ok()) return Fail(console, "scan", snapshot.status());
  uint64_t left = limit->value_or(std::numeric_limits<uint64_t>::max());
  if (left == 0) return ExitCode::kOk;
  std::string line;
  const absl::Status scanned =
      snapshot->Scan(opened->collection, {.prefix = arguments.Value("prefix").value_or("")},
                     [&](const storage::RecordRef& record) {
                       line.clear();
                       AppendDocumentLine(record, &line);
                       console.Print(line);
                       return --left > 0 && console.can_print();
                     });
  if (!scanned.ok()) return Fail(console, "scan", scanned);
  return ExitCode::kOk;
}

ExitCode RunCount(const Arguments& arguments, Console& console) {
  const absl::StatusOr<OpenedCollection> opened =
      OpenExistingCollection(arguments.operands[0], arguments.operands[1]);
  if (!opened.ok()) return Fail(console, "count", opened.status());
  const absl::StatusOr<storage::Snapshot> snapshot =
      opened->engine->TakeSnapshot("millrace command");
  if (!snapshot.ok()) return Fail(console, "count", snapshot.status());
  const absl::StatusOr<uint64_t> count = snapshot->Count(opened->collection);
  if (!count.ok()) return Fail(console, "count", count.status());
  console.Print(absl::StrCat(*count, "\n"));
  return ExitCode::kOk;
}

}  // namespace millrace
