// index create, list, rebuild, drop; find: indexes.

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

#include "millrace/tools/build_progress_bar.h"
#include "millrace/tools/document_line.h"
#include "millrace/tools/index_build.h"
#include "millrace/tools/open_store.h"
#include "millrace/tools/verbs.h"

namespace millrace {
namespace {

using storage::IndexValue;
using storage::ToAbsl;

// A word as a value: what JSON says it is, else text. "\"12\"" is text, 12 a number.
IndexValue ParseValue(std::string_view word) {
  const absl::StatusOr<storage::Document> document =
      storage::Document::FromJson(absl::StrCat("{\"v\":", ToAbsl(word), "}"));
  if (!document.ok()) return std::string(word);
  const std::optional<storage::FieldValue> field = document->Field("v");
  if (!field.has_value()) return std::string(word);
  if (const auto* b = std::get_if<bool>(&*field)) return *b;
  if (const auto* i = std::get_if<int64_t>(&*field)) return *i;
  if (const auto* u = std::get_if<uint64_t>(&*field)) return *u;
  if (const auto* d = std::get_if<double>(&*field)) return *d;
  if (const auto* text = std::get_if<std::string_view>(&*field)) return std::string(*text);
  return std::string(word);
}

std::optional<IndexValue> ValueOf(const Arguments& arguments, std::string_view option) {
  const std::optional<std::string_view> word = arguments.Value(option);
  if (!word.has_value()) return std::nullopt;
  return ParseValue(*word);
}

storage::IndexOptions OptionsOf(const Arguments& arguments) {
  return {
      .field = std::string(arguments.operands[2]),
      .kind = arguments.Has("unique") ? storage::IndexKind::kUnique : storage::IndexKind::kMulti,
      .scope = std::string(arguments.Value("scope").value_or("")),
      .name = std::string(arguments.Value("name").value_or(""))};
}

// What the words ask for. The value "-" is none: all, or what the options say.
storage::IndexQuery QueryOf(const Arguments& arguments) {
  storage::IndexQuery query{.from = ValueOf(arguments, "from"),
                            .to = ValueOf(arguments, "to"),
                            .owner = std::string(arguments.Value("owner").value_or("")),
                            .reverse = arguments.Has("reverse")};
  const std::string_view value = arguments.operands[3];
  if (arguments.Has("prefix")) {
    query.prefix = std::string(value);
  } else if (value != "-") {
    query.equal = ParseValue(value);
  }
  return query;
}

// One of them, by its name; nothing said is the first.
template <typename T, size_t kCount>
absl::StatusOr<T> Choose(const Arguments& arguments, std::string_view option,
                         const std::array<T, kCount>& choices) {
  const std::optional<std::string_view> word = arguments.Value(option);
  if (!word.has_value()) return choices.front();
  for (const T choice : choices) {
    if (storage::ToString(choice) == *word) return choice;
  }
  return absl::InvalidArgumentError(absl::StrCat("--", ToAbsl(option), ": '", ToAbsl(*word),
                                                 "' is none of the choices; see --help"));
}

ExitCode Await(Engine& engine, storage::TaskId task, std::string_view doing, Console& console) {
  const absl::Status status = AwaitBuild(engine, task);
  return status.ok() ? ExitCode::kOk : Fail(console, doing, status);
}

std::string StateOf(const Engine& engine, const storage::IndexInfo& index) {
  if (!index.status.ok()) return std::string(index.status.message());
  const absl::StatusOr<IndexStatus> status = engine.GetIndexStatus(index.definition);
  if (!status.ok()) return std::string(status.status().message());
  std::string state(ToString(status->lifecycle));
  if (status->trigger.has_value()) {
    absl::StrAppend(&state, " (", ToAbsl(storage::ToString(*status->trigger)), ")");
  }
  if (status->lifecycle == IndexLifecycle::kBuilding && status->progress.has_value()) {
    absl::StrAppend(&state, " (", Describe(*status->progress), ")");
  }
  if (!status->serves) state += ", lookups scan";
  if (status->task.has_value() && status->task->state == storage::TaskState::kFailed) {
    absl::StrAppend(&state, ", last build failed: ", status->task->error.message());
  }
  return state;
}

}  // namespace

ExitCode RunIndexCreate(const Arguments& arguments, Console& console) {
  const absl::StatusOr<OpenedCollection> opened =
      OpenExistingCollection(arguments.operands[0], arguments.operands[1]);
  if (!opened.ok()) return Fail(console, "index create", opened.status());
  const absl::StatusOr<IndexDefined> defined =
      opened->engine->CreateIndex(opened->collection, OptionsOf(arguments));
  if (!defined.ok()) return Fail(console, "index create", defined.status());
  if (defined->complete) return ExitCode::kOk;
  return Await(*opened->engine, defined->build, "index create", console);
}

ExitCode RunIndexRebuild(const Arguments& arguments, Console& console) {
  const absl::StatusOr<storage::BuildSource> source =
      Choose(arguments, "source",
             std::array{storage::BuildSource::kInstances, storage::BuildSource::kParticipation,
                        storage::BuildSource::kScan});
  const absl::StatusOr<storage::DuplicatePolicy> duplicates =
      Choose(arguments, "duplicates",
             std::array{storage::DuplicatePolicy::kFail, storage::DuplicatePolicy::kKeepLive,
                        storage::DuplicatePolicy::kLowestId});
  for (const absl::Status& status : {source.status(), duplicates.status()}) {
    if (status.ok()) continue;
    console.Complain("index rebuild", status);
    return ExitCode::kUsage;
  }
  const absl::StatusOr<OpenedCollection> opened =
      OpenExistingCollection(arguments.operands[0], arguments.operands[1]);
  if (!opened.ok()) return Fail(console, "index rebuild", opened.status());
  const absl::StatusOr<storage::TaskId> task = ScheduleRebuild(
      *opened, arguments.operands[2], {.source = *source, .duplicates = *duplicates});
  if (!task.ok()) return Fail(console, "index rebuild", task.status());
  return Await(*opened->engine, *task, "index rebuild", console);
}

ExitCode RunIndexDrop(const Arguments& arguments, Console& console) {
  const absl::StatusOr<OpenedCollection> opened =
      OpenExistingCollection(arguments.operands[0], arguments.operands[1]);
  if (!opened.ok()) return Fail(console, "index drop", opened.status());
  const absl::StatusOr<IndexDropped> dropped =
      opened->engine->DropIndex(opened->collection, arguments.operands[2]);
  if (!dropped.ok()) return Fail(console, "index drop", dropped.status());
  return ExitCode::kOk;
}

ExitCode RunIndexList(const Arguments& arguments, Console& console) {
  const absl::StatusOr<std::unique_ptr<Engine>> engine = OpenExistingStore(arguments.operands[0]);
  if (!engine.ok()) return Fail(console, "index list", engine.status());
  const absl::StatusOr<storage::Snapshot> snapshot = (*engine)->TakeSnapshot("millrace command");
  if (!snapshot.ok()) return Fail(console, "index list", snapshot.status());
  const absl::StatusOr<std::vector<storage::Collection>> collections = snapshot->ListCollections();
  if (!collections.ok()) return Fail(console, "index list", collections.status());
  const absl::StatusOr<std::vector<storage::IndexInfo>> indexes = snapshot->ListIndexes();
  if (!indexes.ok()) return Fail(console, "index list", indexes.status());
  std::map<storage::CollectionId, std::string> names;
  for (const storage::Collection& collection : *collections) {
    names[collection.id] = collection.name;
  }
  for (const storage::IndexInfo& index : *indexes) {
    console.Print(absl::StrCat(names[index.definition.collection], "  ", index.definition.name,
                               "  ", ToAbsl(storage::ToString(index.definition.kind)), "  ",
                               index.definition.field, "  ", StateOf(**engine, index), "\n"));
  }
  return ExitCode::kOk;
}

ExitCode RunFind(const Arguments& arguments, Console& console) {
  const absl::StatusOr<std::optional<uint64_t>> limit = arguments.Number("limit");
  if (!limit.ok()) {
    console.Complain("find", limit.status());
    return ExitCode::kUsage;
  }
  const absl::StatusOr<OpenedCollection> opened =
      OpenExistingCollection(arguments.operands[0], arguments.operands[1]);
  if (!opened.ok()) return Fail(console, "find", opened.status());
  const absl::StatusOr<storage::Snapshot> snapshot =
      opened->engine->TakeSnapshot("millrace command");
  if (!snapshot.ok()) return Fail(console, "find", snapshot.status());
  const absl::StatusOr<storage::IndexDefinition> index =
      snapshot->FindIndex(opened->collection, arguments.operands[2]);
  if (!index.ok()) return Fail(console, "find", index.status());
  storage::IndexQuery query = QueryOf(arguments);
  query.limit = limit->value_or(std::numeric_limits<uint64_t>::max());
  std::string line;
  const absl::StatusOr<storage::FoundPage> page =
      snapshot->Find(*index, query, [&](const storage::RecordRef& record) {
        line.clear();
        AppendDocumentLine(record, &line);
        console.Print(line);
        return console.can_print();
      });
  if (!page.ok()) return Fail(console, "find", page.status());
  if (page->scanned) {
    console.Complain(
        absl::StrCat("index '", index->name, "' is not built: the collection was scanned instead"));
  }
  return page->count == 0 ? ExitCode::kNotFound : ExitCode::kOk;
}

}  // namespace millrace
