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

std::vector<Verb> StoreVerbs() {
  return {
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
                    {"rebuild", "INDEX", "build this index anew meanwhile"},
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
}

std::vector<Verb> IndexVerbs() {
  return {
      {{.name = "find",
        .operands = {"STORE", "COLLECTION", "INDEX", "VALUE|-"},
        .summary = "Prints the documents that have a value, as an index finds them.",
        .details =
            "A value is a number, true, false or text; '\"12\"' is text. - is all values, or\n"
            "those of the range. Exit code 1 if nothing is found.",
        .options = {{"prefix", "", "the value is what text begins with"},
                    {"from", "VALUE", "values from this one on"},
                    {"to", "VALUE", "values below this one"},
                    {"owner", "ID", "whose members, of a scoped index"},
                    {"reverse", "", "from the highest value down"},
                    {"limit", "N", "at most N documents"}}},
       RunFind},
      {{.name = "index create",
        .operands = {"STORE", "COLLECTION", "FIELD"},
        .summary = "Defines an index over a field, or a path to it (address.city), and builds it.",
        .details = "Cut short, it is built when the store is opened again.",
        .options = {{"unique", "", "a value has one document only"},
                    {"scope", "RELATION", "one scope for each owner of the relation"},
                    {"name", "TEXT", "what it is called (default: FIELD, or FIELD@RELATION)"}}},
       RunIndexCreate},
      {{.name = "index list",
        .operands = {"STORE"},
        .summary = "Prints the indexes and how they stand, one a line."},
       RunIndexList},
      {{.name = "index rebuild",
        .operands = {"STORE", "COLLECTION", "INDEX"},
        .summary = "Builds an index anew. The old one serves until the new one takes its place.",
        .options = {{"source", "SOURCE", "instances (default), participation or scan"},
                    {"duplicates", "POLICY",
                     "of a unique index: fail (default), keep-live or lowest-id"}}},
       RunIndexRebuild},
      {{.name = "index audit",
        .operands = {"STORE"},
        .summary = "Compares indexes, relations and counts with the documents, both ways.",
        .details = "Says also what was not checked. Exit code 65 if something is wrong, or could\n"
                   "not be repaired. A repair never changes a document.",
        .options = {{"repair", "", "make indexes, links and counts follow the documents"},
                    {"json", "", "as one JSON object"}},
        .more_operands = {"COLLECTION", "INDEX"}},
       RunIndexAudit},
      {{.name = "index drop",
        .operands = {"STORE", "COLLECTION", "INDEX"},
        .summary = "Drops an index. Exit code 1 if there is none."},
       RunIndexDrop},
  };
}

std::vector<Verb> RelationVerbs() {
  return {
      {{.name = "link",
        .operands = {"STORE", "RELATION", "OWNER", "MEMBER"},
        .summary = "Makes a document a member of another.",
        .details = "With --owners and --members the relation is defined if it is not.",
        .options = {{"score", "NUMBER", "orders the members (default: 0)"},
                    {"owners", "COLLECTION", "where the owners are"},
                    {"members", "COLLECTION", "where the members are"},
                    {"order", "id|score|insertion", "how members are ordered (default: id)"},
                    {"max", "N", "members of one owner, at most (default: any number)"}}},
       RunLink},
      {{.name = "unlink",
        .operands = {"STORE", "RELATION", "OWNER", "MEMBER"},
        .summary = "Ends a membership; if there is none it succeeds."},
       RunUnlink},
      {{.name = "members",
        .operands = {"STORE", "RELATION", "OWNER"},
        .summary = "Prints the members of a document and their scores, one a line, in order.",
        .options = {{"reverse", "", "from the last down"},
                    {"staged", "", "those that are prepared, instead"},
                    {"limit", "N", "at most N members"}}},
       RunMembers},
      {{.name = "describe",
        .operands = {"STORE", "COLLECTION", "ID"},
        .summary = "Prints where a document stands: its values in indexes, and whose member it is.",
        .details = "One a line: 'index', the index, the value, the owner of a scoped index; or\n"
                   "'member', the relation, the owner, the score."},
       RunDescribe},
  };
}

const std::vector<Verb>& Verbs() {
  static const std::vector<Verb>& verbs = *new std::vector<Verb>([] {
    std::vector<Verb> all = StoreVerbs();
    for (const Verb& verb : IndexVerbs()) all.push_back(verb);
    for (const Verb& verb : RelationVerbs()) all.push_back(verb);
    return all;
  }());
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
  // Some have two words: "index list".
  std::string two_words(words.front());
  if (words.size() > 1) absl::StrAppend(&two_words, " ", ToAbsl(words[1]));
  const auto verb = std::find_if(Verbs().begin(), Verbs().end(), [&](const Verb& v) {
    return v.spec.name == words.front() || v.spec.name == two_words;
  });
  if (verb == Verbs().end()) {
    console.Complain(absl::StrCat("unknown verb '", ToAbsl(words.front()),
                                  "'; 'millrace --help' lists the verbs"));
    return ExitCode::kUsage;
  }
  const absl::StatusOr<Arguments> arguments =
      ParseArguments(verb->spec, words.subspan(verb->spec.name == words.front() ? 1 : 2));
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
