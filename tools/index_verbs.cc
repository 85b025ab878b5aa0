// index create, index list, index drop, find: indexes.

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

#include "millrace/tools/document_line.h"
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

}  // namespace

ExitCode RunIndexCreate(const Arguments& arguments, Console& console) {
  const absl::StatusOr<OpenedCollection> opened =
      OpenExistingCollection(arguments.operands[0], arguments.operands[1]);
  if (!opened.ok()) return Fail(console, "index create", opened.status());
  const absl::StatusOr<IndexDefined> defined =
      opened->engine->CreateIndex(opened->collection, OptionsOf(arguments));
  if (!defined.ok()) return Fail(console, "index create", defined.status());
  if (!defined->complete) {
    console.Complain(absl::StrCat("index '", defined->definition.name,
                                  "' is defined but not built: lookups scan the collection"));
  }
  return ExitCode::kOk;
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
    const std::string state = !index.status.ok() ? std::string(index.status.message())
                              : index.complete   ? std::string("online")
                                                 : std::string("not built");
    console.Print(absl::StrCat(names[index.definition.collection], "  ", index.definition.name,
                               "  ", ToAbsl(storage::ToString(index.definition.kind)), "  ",
                               index.definition.field, "  ", state, "\n"));
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
