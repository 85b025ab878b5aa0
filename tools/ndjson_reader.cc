#include "millrace/tools/ndjson_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace millrace {

NdjsonReader::NdjsonReader(int descriptor, IdRule id_rule)
    : lines_(descriptor, kImportLineBytesMax), id_rule_(std::move(id_rule)) {
}

std::optional<SourceRecord> NdjsonReader::Next() {
  std::string_view line;
  LineReader::Result result;
  do {
    result = lines_.Next(&line);
    if (result == LineReader::Result::kEnd) return std::nullopt;
  } while (result == LineReader::Result::kLine &&
           line.find_first_not_of(" \t\r") == std::string_view::npos);
  SourceRecord record{.line = lines_.line_number()};
  if (result == LineReader::Result::kTooLong) {
    record.fault = absl::InvalidArgumentError(
        absl::StrCat("the line is longer than ", kImportLineBytesMax, " bytes"));
    return record;
  }
  absl::StatusOr<storage::Document> document = storage::Document::FromJson(line);
  if (!document.ok()) {
    record.fault = document.status();
    return record;
  }
  absl::StatusOr<std::string> id = id_rule_.IdOf(*document);
  if (!id.ok()) {
    record.fault = id.status();
    return record;
  }
  record.id = *std::move(id);
  record.document = *std::move(document);
  return record;
}

}  // namespace millrace
