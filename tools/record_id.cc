#include "millrace/tools/record_id.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/row_key.h"

namespace millrace {

using storage::ToAbsl;

IdRule IdRule::OfField(std::string_view field) {
  return IdRule({std::string(field)});
}

IdRule IdRule::OfJoinedFields(std::string_view fields) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (;;) {
    const size_t colon = fields.find(':', begin);
    parts.emplace_back(fields.substr(begin, colon - begin));
    if (colon == std::string_view::npos) return IdRule(std::move(parts));
    begin = colon + 1;
  }
}

absl::StatusOr<std::string> IdRule::IdOf(const storage::Document& document) const {
  std::string id;
  for (const std::string& field : fields_) {
    const std::optional<storage::FieldValue> value = document.Field(field);
    if (!value.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("no field '", field, "' for the id; name another with --id"));
    }
    const std::optional<std::string> text = IdText(*value);
    if (!text.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("field '", field, "' is neither a string nor an integer, so it is no id"));
    }
    if (&field != &fields_.front()) id.push_back(':');
    id += *text;
  }
  if (absl::Status s = storage::CheckId(id); !s.ok()) return s;
  if (absl::Status s = CheckOwnId(document, id); !s.ok()) return s;
  return id;
}

std::optional<std::string> IdText(const storage::FieldValue& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) return std::string(*text);
  if (const auto* number = std::get_if<int64_t>(&value)) return absl::StrCat(*number);
  if (const auto* number = std::get_if<uint64_t>(&value)) return absl::StrCat(*number);
  return std::nullopt;
}

absl::Status CheckOwnId(const storage::Document& document, std::string_view id) {
  const std::optional<storage::FieldValue> own = document.Field("_id");
  if (!own.has_value() || IdText(*own) == id) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the document has an _id of its own that differs from its id '",
                   absl::Utf8SafeCHexEscape(ToAbsl(id)), "'; remove it or make it equal"));
}

}  // namespace millrace
