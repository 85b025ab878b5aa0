#include "millrace/tools/deb822_reader.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/row_key.h"

namespace millrace {
namespace {

constexpr std::string_view kSpace = " \t\r";

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(kSpace) == std::string_view::npos;
}

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// Printable ASCII without the colon, not beginning like a comment or an option.
bool IsFieldName(std::string_view name) {
  if (name.empty() || name.front() == '-') return false;
  return std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

// A piece of a line for a message.
std::string Quote(std::string_view text) {
  const bool is_long = text.size() > 60;
  return absl::StrCat("'", absl::CHexEscape(storage::ToAbsl(text.substr(0, 60))),
                      is_long ? "...'" : "'");
}

}  // namespace

Deb822Reader::Deb822Reader(int descriptor, IdRule id_rule)
    : lines_(descriptor, kImportLineBytesMax), id_rule_(std::move(id_rule)) {
}

std::optional<SourceRecord> Deb822Reader::Next() {
  SourceRecord record;
  Fields fields;
  std::string_view line;
  for (;;) {
    const LineReader::Result result = lines_.Next(&line);
    if (result == LineReader::Result::kEnd) break;
    const bool too_long = result == LineReader::Result::kTooLong;
    if (!too_long && !line.empty() && line.front() == '#') continue;
    if (too_long || !IsBlank(line)) {
      TakeStanzaLine(too_long ? nullptr : &line, &fields, &record);
    } else if (record.line != 0) {
      break;
    }
  }
  // Of a read that failed in the middle of a stanza, nothing is told but the failure.
  if (record.line == 0 || !lines_.status().ok()) return std::nullopt;
  if (record.fault.ok()) record.fault = ToRecord(fields, &record);
  return record;
}

// Behind a bad line the rest of its stanza is passed over: its fields alone are not the record.
void Deb822Reader::TakeStanzaLine(const std::string_view* line, Fields* fields,
                                  SourceRecord* record) {
  if (record->line == 0) record->line = lines_.line_number();
  if (!record->fault.ok()) return;
  record->fault = line != nullptr ? TakeLine(*line, fields)
                                  : absl::InvalidArgumentError(absl::StrCat(
                                        "the line is longer than ", kImportLineBytesMax, " bytes"));
  if (!record->fault.ok()) record->line = lines_.line_number();
}

absl::Status Deb822Reader::TakeLine(std::string_view line, Fields* fields) {
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (line.front() == ' ' || line.front() == '\t') {
    if (fields->empty()) {
      return absl::InvalidArgumentError("a continuation line without a field above it");
    }
    line.remove_prefix(1);
    std::string& value = fields->back().second;
    value.push_back('\n');
    if (line != ".") value.append(line);
    return absl::OkStatus();
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(Quote(line), " is not 'Field: value'"));
  }
  const std::string_view name = line.substr(0, colon);
  if (!IsFieldName(name)) {
    return absl::InvalidArgumentError(absl::StrCat(Quote(name), " is not a field name"));
  }
  fields->emplace_back(name, Trim(line.substr(colon + 1)));
  return absl::OkStatus();
}

absl::Status Deb822Reader::ToRecord(const Fields& fields, SourceRecord* record) {
  for (const auto& [name, value] : fields) builder_.Set(name, value);
  absl::StatusOr<storage::Document> document = builder_.Finish();
  if (!document.ok()) return document.status();
  absl::StatusOr<std::string> id = id_rule_.IdOf(*document);
  if (!id.ok()) return id.status();
  record->id = *std::move(id);
  record->document = *std::move(document);
  return absl::OkStatus();
}

}  // namespace millrace
