#include "millrace/tools/command.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "millrace/storage/row_key.h"
#include "millrace/tools/verbs.h"

namespace millrace {
namespace {

using storage::ToAbsl;

struct Verb {
  VerbSpec spec;
  ExitCode (*run)(const Arguments&, Console&);
};

const std::vector<Verb>& Verbs() {
  static const std::vector<Verb>& verbs = *new std::vector<Verb>{
      {{.name = "import",
        .operands = {"STORE", "COLLECTION", "FILE|-"},
        .summary = "Imports the records of a file, or of standard input.",
        .details = "The store and the collection are created where they are missing. A record\n"
                   "whose id is there already replaces it. Bad records are reported with their\n"
                   "line; the exit code is 65 if there was any.",
        .options = {{"format", "ndjson|deb822", "one JSON object a line (default), or stanzas"},
                    {"id", "FIELD",
                     "the field that holds the id (default: id, or"
                     " Package:Architecture for deb822)"},
                    {"on-error", "stop|skip", "what to do at a bad record (default: stop)"},
                    {"verbose", "",
                     "print each number of records that is durable, and how the store stopped"}}},
       RunImport},
      {{.name = "get", .operands = {"STORE", "COLLECTION", "ID"}, .summary = "Prints a document."},
       RunGet},
      {{.name = "put",
        .operands = {"STORE", "COLLECTION", "ID", "JSON|-"},
        .summary = "Puts a document: a JSON object, or what standard input holds.",
        .details = "The store and the collection are created where they are missing."},
       RunPut},
      {{.name = "delete",
        .operands = {"STORE", "COLLECTION", "ID"},
        .summary = "Deletes a document. Exit code 1 if there is none."},
       RunDelete},
      {{.name = "scan",
        .operands = {"STORE", "COLLECTION"},
        .summary = "Prints the documents, one a line, in the order of their ids.",
        .details = "The id stands first in each, as _id.",
        .options = {{"prefix", "TEXT", "only ids that begin with TEXT"},
                    {"limit", "N", "at most N documents"}}},
       RunScan},
      {{.name = "count",
        .operands = {"STORE", "COLLECTION"},
        .summary = "Prints the number of documents."},
       RunCount},
      {{.name = "stat",
        .operands = {"STORE"},
        .summary = "Prints what the store holds and how full it is.",
        .options = {{"json", "", "as one JSON object"}}},
       RunStat},
      {{.name = "verify",
        .operands = {"STORE"},
        .summary = "Looks for damage at every page, row and log record.",
        .details =
            "Changes nothing; the store must not be in use. Exit code 65 if damage is found,\n"
            "each place named on a line of its own.",
        .options = {{"json", "", "as one JSON object"}}},
       RunVerify},
  };
  return verbs;
}

std::string Overview() {
  std::string text =
      "usage: millrace VERB ARGUMENTS, millrace VERB --help, millrace --version\n\nverbs:\n";
  for (const Verb& verb : Verbs()) {
    absl::StrAppend(&text, "  ", UsageLine(verb.spec).substr(sizeof("millrace")), "\n      ",
                    ToAbsl(verb.spec.summary), "\n");
  }
  absl::StrAppend(&text,
                  "\nData goes to standard output, messages to standard error.\nExit codes: 0 ok, "
                  "1 not found, 64 usage, 65 bad data, 70 failed, 71 locked.\n");
  return text;
}

ExitCode Finish(ExitCode code, Console& console) {
  const absl::Status flushed = console.Flush();
  if (flushed.ok()) return code;
  if (!absl::IsCancelled(flushed)) console.Complain("output", flushed);
  return code == ExitCode::kOk ? ExitCode::kFailed : code;
}

}  // namespace

ExitCode RunCommand(absl::Span<const std::string_view> words, Console& console) {
  if (words.empty()) {
    console.Complain("what to do? 'millrace --help' lists the verbs");
    return ExitCode::kUsage;
  }
  if (words.front() == "--help" || words.front() == "-h") {
    console.Print(Overview());
    return Finish(ExitCode::kOk, console);
  }
  if (words.front() == "--version") {
    console.Print("millrace " MILLRACE_VERSION "\n");
    return Finish(ExitCode::kOk, console);
  }
  const auto verb = std::find_if(Verbs().begin(), Verbs().end(),
                                 [&words](const Verb& v) { return v.spec.name == words.front(); });
  if (verb == Verbs().end()) {
    console.Complain(absl::StrCat("unknown verb '", ToAbsl(words.front()),
                                  "'; 'millrace --help' lists the verbs"));
    return ExitCode::kUsage;
  }
  const absl::StatusOr<Arguments> arguments = ParseArguments(verb->spec, words.subspan(1));
  if (!arguments.ok()) {
    console.Complain(
        absl::StrCat(arguments.status().message(), "\nusage: ", UsageLine(verb->spec)));
    return ExitCode::kUsage;
  }
  if (arguments->help) {
    console.Print(HelpText(verb->spec));
    return Finish(ExitCode::kOk, console);
  }
  return Finish(verb->run(*arguments, console), console);
}

}  // namespace millrace
