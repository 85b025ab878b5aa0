// import: many documents from a file or pipe.

#include <unistd.h>

#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/tools/deb822_reader.h"
#include "millrace/tools/import_progress.h"
#include "millrace/tools/import_writer.h"
#include "millrace/tools/input.h"
#include "millrace/tools/ndjson_reader.h"
#include "millrace/tools/open_store.h"
#include "millrace/tools/verbs.h"

namespace millrace {
namespace {

using storage::ToAbsl;

constexpr absl::Duration kFlushTimeout = absl::Seconds(30);

struct ImportOptions {
  bool is_deb822 = false;
  bool skips_bad = false;
  IdRule id_rule = IdRule::OfField("id");
};

absl::StatusOr<bool> Choice(const Arguments& arguments, std::string_view option,
                            std::string_view otherwise, std::string_view chosen) {
  const std::string_view value = arguments.Value(option).value_or(otherwise);
  if (value == chosen) return true;
  if (value == otherwise) return false;
  return absl::InvalidArgumentError(absl::StrCat("--", ToAbsl(option), ": '", ToAbsl(value),
                                                 "' is neither ", ToAbsl(otherwise), " nor ",
                                                 ToAbsl(chosen)));
}

absl::StatusOr<ImportOptions> ReadOptions(const Arguments& arguments) {
  const absl::StatusOr<bool> is_deb822 = Choice(arguments, "format", "ndjson", "deb822");
  if (!is_deb822.ok()) return is_deb822.status();
  const absl::StatusOr<bool> skips_bad = Choice(arguments, "on-error", "stop", "skip");
  if (!skips_bad.ok()) return skips_bad.status();
  const std::string_view id =
      arguments.Value("id").value_or(*is_deb822 ? "Package:Architecture" : "id");
  if (id.empty()) return absl::InvalidArgumentError("--id: a field must be named");
  return ImportOptions{.is_deb822 = *is_deb822,
                       .skips_bad = *skips_bad,
                       // A field name of a stanza has no colon; one of JSON may.
                       .id_rule = *is_deb822 ? IdRule::OfJoinedFields(id) : IdRule::OfField(id)};
}

std::unique_ptr<RecordReader> MakeReader(const ImportOptions& options, const Input& input) {
  if (options.is_deb822) {
    return std::make_unique<Deb822Reader>(input.descriptor(), options.id_rule);
  }
  return std::make_unique<NdjsonReader>(input.descriptor(), options.id_rule);
}

// Reads to the end, or to the first thing that stops the import. Bad records are told and counted.
absl::Status CopyRecords(RecordReader& reader, bool skips_bad, ImportWriter& writer,
                         ImportProgress& progress, uint64_t* bad_count) {
  while (const std::optional<SourceRecord> record = reader.Next()) {
    if (!record->fault.ok()) {
      ++*bad_count;
      progress.Note(
          absl::StrCat("millrace: import: line ", record->line, ": ", record->fault.message()));
      if (!skips_bad) break;
    } else if (absl::Status s = writer.Add(*record); !s.ok()) {
      return s;
    }
    // A slow pipe does not keep back what it has already given.
    if (reader.MustWait()) {
      if (absl::Status s = writer.Send(); !s.ok()) return s;
    }
    progress.Update(reader.bytes_consumed(), writer.committed_count());
  }
  return reader.status();
}

}  // namespace

ExitCode RunImport(const Arguments& arguments, Console& console) {
  const absl::StatusOr<ImportOptions> options = ReadOptions(arguments);
  if (!options.ok()) {
    console.Complain("import", options.status());
    return ExitCode::kUsage;
  }
  const absl::StatusOr<Input> input = Input::Open(arguments.operands[2]);
  if (!input.ok()) {
    console.Complain("import", input.status());
    return ExitCode::kFailed;
  }
  const absl::StatusOr<OpenedCollection> opened =
      OpenOrCreateCollection(arguments.operands[0], arguments.operands[1], Workload::kBulk);
  if (!opened.ok()) return Fail(console, "import", opened.status());
  const std::unique_ptr<RecordReader> reader = MakeReader(*options, *input);
  ImportWriter writer(*opened->engine, opened->collection);
  ImportProgress progress(
      SystemClock(), std::cerr,
      {.is_terminal = ::isatty(STDERR_FILENO) == 1, .bytes_total = input->bytes_total()});
  uint64_t bad_count = 0;
  absl::Status failure = CopyRecords(*reader, options->skips_bad, writer, progress, &bad_count);
  if (absl::Status s = writer.Finish(); failure.ok()) failure = s;
  progress.Finish(writer.committed_count(), options->skips_bad ? bad_count : 0);
  // So that closing the store has nothing left to wait for. What is not flushed is in the log.
  opened->engine->Flush().Wait(kFlushTimeout).IgnoreError();
  if (!failure.ok()) {
    console.Complain("import", failure);
    const ExitCode code = ToExitCode(failure);
    return code == ExitCode::kBadData || code == ExitCode::kNotFound ? ExitCode::kFailed : code;
  }
  return bad_count == 0 ? ExitCode::kOk : ExitCode::kBadData;
}

}  // namespace millrace
