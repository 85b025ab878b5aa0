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
#include "millrace/tools/index_build.h"
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
  bool is_verbose = false;
  IdRule id_rule = IdRule::OfField("id");
  std::string_view rebuilt_index;  // Or empty.
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
                       .is_verbose = arguments.Has("verbose"),
                       // A field name of a stanza has no colon; one of JSON may.
                       .id_rule = *is_deb822 ? IdRule::OfJoinedFields(id) : IdRule::OfField(id),
                       .rebuilt_index = arguments.Value("rebuild").value_or("")};
}

std::unique_ptr<RecordReader> MakeReader(const ImportOptions& options, const Input& input) {
  if (options.is_deb822) {
    return std::make_unique<Deb822Reader>(input.descriptor(), options.id_rule);
  }
  return std::make_unique<NdjsonReader>(input.descriptor(), options.id_rule);
}

// Tells on standard output how many records are durable, each time that more are; silent unless
// verbose. Thread-compatible.
class Acknowledgements {
 public:
  Acknowledgements(Console& console, bool is_verbose) : console_(console), on_(is_verbose) {}

  bool on() const { return on_; }
  void Tell(uint64_t committed_count) {
    if (!on_ || committed_count == told_) return;
    told_ = committed_count;
    console_.Print(absl::StrCat("acknowledged ", committed_count, "\n"));
    console_.Flush().IgnoreError();  // RunCommand's own Flush reports it.
  }

 private:
  Console& console_;
  const bool on_;
  uint64_t told_ = 0;
};

// What an import goes through, record by record.
struct ImportRun {
  RecordReader& reader;
  ImportWriter& writer;
  ImportProgress& progress;
  Acknowledgements& acknowledgements;
  uint64_t bad_count = 0;
};

// Reads to the end, or to the first thing that stops the import. Bad records are told and counted.
absl::Status CopyRecords(ImportRun& run, bool skips_bad) {
  while (const std::optional<SourceRecord> record = run.reader.Next()) {
    if (!record->fault.ok()) {
      ++run.bad_count;
      run.progress.Note(
          absl::StrCat("millrace: import: line ", record->line, ": ", record->fault.message()));
      if (!skips_bad) break;
    } else if (absl::Status s = run.writer.Add(*record); !s.ok()) {
      return s;
    }
    // A slow pipe does not keep back what it has already given, nor what became of it.
    if (run.reader.MustWait()) {
      absl::Status s = run.acknowledgements.on() ? run.writer.Finish() : run.writer.Send();
      if (!s.ok()) return s;
    }
    run.acknowledgements.Tell(run.writer.committed_count());
    run.progress.Update(run.reader.bytes_consumed(), run.writer.committed_count());
  }
  return run.reader.status();
}

// Stops the store and tells what became of everything its actors were sent.
ExitCode TellShutdown(Engine& engine, Console& console) {
  const ShutdownReport report = engine.Shutdown();
  console.Print(report.ToString());
  if (report.Balanced()) return ExitCode::kOk;
  console.Complain("the counts of the shutdown report do not add up");
  return ExitCode::kFailed;
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
  absl::StatusOr<storage::TaskId> rebuild = storage::TaskId{0};
  if (!options->rebuilt_index.empty()) rebuild = ScheduleRebuild(*opened, options->rebuilt_index);
  if (!rebuild.ok()) return Fail(console, "import", rebuild.status());
  const std::unique_ptr<RecordReader> reader = MakeReader(*options, *input);
  ImportWriter writer(*opened->engine, opened->collection);
  ImportProgress progress(
      SystemClock(), std::cerr,
      {.is_terminal = ::isatty(STDERR_FILENO) == 1, .bytes_total = input->bytes_total()});
  Acknowledgements acknowledgements(console, options->is_verbose);
  ImportRun run{.reader = *reader,
                .writer = writer,
                .progress = progress,
                .acknowledgements = acknowledgements};
  absl::Status failure = CopyRecords(run, options->skips_bad);
  if (absl::Status s = writer.Finish(); failure.ok()) failure = s;
  acknowledgements.Tell(writer.committed_count());
  progress.Finish(writer.committed_count(), options->skips_bad ? run.bad_count : 0);
  if (*rebuild != 0 && failure.ok()) failure = AwaitBuild(*opened->engine, *rebuild);
  // So that closing the store has nothing left to wait for. What is not flushed is in the log.
  opened->engine->Flush().Wait(kFlushTimeout).IgnoreError();
  if (!failure.ok()) {
    console.Complain("import", failure);
    const ExitCode code = ToExitCode(failure);
    return code == ExitCode::kBadData || code == ExitCode::kNotFound ? ExitCode::kFailed : code;
  }
  if (options->is_verbose) {
    if (const ExitCode code = TellShutdown(*opened->engine, console); code != ExitCode::kOk) {
      return code;
    }
  }
  return run.bad_count == 0 ? ExitCode::kOk : ExitCode::kBadData;
}

}  // namespace millrace
