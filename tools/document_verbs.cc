// get, put, delete, describe: one document.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/tools/input.h"
#include "millrace/tools/open_store.h"
#include "millrace/tools/record_id.h"
#include "millrace/tools/record_reader.h"
#include "millrace/tools/verbs.h"

namespace millrace {
namespace {

using storage::ToAbsl;

absl::Status NoDocument(const Arguments& arguments) {
  return absl::NotFoundError(absl::StrCat(
      "there is no document '", absl::Utf8SafeCHexEscape(ToAbsl(arguments.operands[2])),
      "' in collection '", ToAbsl(arguments.operands[1]), "' of ", ToAbsl(arguments.operands[0])));
}

// The document of that id in the store as it is now.
absl::StatusOr<storage::Record> Get(const OpenedCollection& opened, const Arguments& arguments) {
  absl::StatusOr<storage::Snapshot> snapshot = opened.engine->TakeSnapshot("millrace command");
  if (!snapshot.ok()) return snapshot.status();
  absl::StatusOr<storage::Record> record = snapshot->Get(opened.collection, arguments.operands[2]);
  if (absl::IsNotFound(record.status())) return NoDocument(arguments);
  return record;
}

// The document that the last operand says, or standard input, fit for the id.
absl::StatusOr<storage::Document> ReadDocument(const Arguments& arguments) {
  const std::string_view id = arguments.operands[2];
  if (absl::Status s = storage::CheckId(id); !s.ok()) return s;
  std::string json(arguments.operands[3]);
  if (json == "-") {
    absl::StatusOr<Input> input = Input::Open("-");
    if (!input.ok()) return input.status();
    absl::StatusOr<std::string> text = input->ReadAll(kImportLineBytesMax);
    if (!text.ok()) return text.status();
    json = *std::move(text);
  }
  absl::StatusOr<storage::Document> document = storage::Document::FromJson(json);
  if (!document.ok()) return document.status();
  if (absl::Status s = CheckOwnId(*document, id); !s.ok()) return s;
  return document;
}

}  // namespace

ExitCode RunGet(const Arguments& arguments, Console& console) {
  if (absl::Status s = storage::CheckId(arguments.operands[2]); !s.ok()) {
    return Fail(console, "get", s);
  }
  const absl::StatusOr<OpenedCollection> opened =
      OpenExistingCollection(arguments.operands[0], arguments.operands[1]);
  if (!opened.ok()) return Fail(console, "get", opened.status());
  const absl::StatusOr<storage::Record> record = Get(*opened, arguments);
  if (!record.ok()) return Fail(console, "get", record.status());
  console.Print(record->document.ToJson());
  console.Print("\n");
  return ExitCode::kOk;
}

// The document is looked at before the store is opened, so that a bad one creates nothing.
ExitCode RunPut(const Arguments& arguments, Console& console) {
  const absl::StatusOr<storage::Document> document = ReadDocument(arguments);
  if (!document.ok()) return Fail(console, "put", document.status());
  const absl::StatusOr<OpenedCollection> opened =
      OpenOrCreateCollection(arguments.operands[0], arguments.operands[1], Workload::kLittle);
  if (!opened.ok()) return Fail(console, "put", opened.status());
  storage::WriteBatch batch;
  batch.Put(opened->collection, arguments.operands[2], *document);
  const absl::StatusOr<CommitReceipt> receipt = opened->engine->Commit(std::move(batch)).Wait();
  if (!receipt.ok()) return Fail(console, "put", receipt.status());
  return ExitCode::kOk;
}

ExitCode RunDelete(const Arguments& arguments, Console& console) {
  if (absl::Status s = storage::CheckId(arguments.operands[2]); !s.ok()) {
    return Fail(console, "delete", s);
  }
  const absl::StatusOr<OpenedCollection> opened =
      OpenExistingCollection(arguments.operands[0], arguments.operands[1]);
  if (!opened.ok()) return Fail(console, "delete", opened.status());
  // Nobody else writes: the store is locked. A damaged record can be deleted.
  const absl::Status found = Get(*opened, arguments).status();
  if (!found.ok() && !absl::IsDataLoss(found)) return Fail(console, "delete", found);
  storage::WriteBatch batch;
  batch.Delete(opened->collection, arguments.operands[2]);
  const absl::StatusOr<CommitReceipt> receipt = opened->engine->Commit(std::move(batch)).Wait();
  if (!receipt.ok()) return Fail(console, "delete", receipt.status());
  return ExitCode::kOk;
}

ExitCode RunDescribe(const Arguments& arguments, Console& console) {
  const absl::StatusOr<OpenedCollection> opened =
      OpenExistingCollection(arguments.operands[0], arguments.operands[1]);
  if (!opened.ok()) return Fail(console, "describe", opened.status());
  const absl::StatusOr<storage::Snapshot> snapshot =
      opened->engine->TakeSnapshot("millrace command");
  if (!snapshot.ok()) return Fail(console, "describe", snapshot.status());
  const std::string_view id = arguments.operands[2];
  const absl::StatusOr<std::vector<storage::IndexedValue>> values =
      snapshot->IndexedIn(opened->collection, id);
  if (absl::IsNotFound(values.status())) return Fail(console, "describe", NoDocument(arguments));
  if (!values.ok()) return Fail(console, "describe", values.status());
  for (const storage::IndexedValue& value : *values) {
    console.Print(absl::StrCat("index  ", value.index.name, "  ", storage::ToString(value.value),
                               value.owner.empty() ? "" : absl::StrCat("  of ", value.owner),
                               value.has_entry ? "" : "  no entry, lookups scan", "\n"));
  }
  const absl::Status listed = snapshot->Memberships(
      opened->collection, id,
      [&console](const storage::Relation& relation, const storage::LinkRef& link) {
        console.Print(absl::StrCat("member  ", relation.name, "  of ", ToAbsl(link.owner), "  ",
                                   link.data.score, "\n"));
        return console.can_print();
      });
  return listed.ok() ? ExitCode::kOk : Fail(console, "describe", listed);
}

}  // namespace millrace
