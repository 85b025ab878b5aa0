#include "millrace/tools/document_line.h"

#include <cstdint>
#include <optional>
#include <variant>

#include "absl/strings/str_cat.h"

namespace millrace {

void AppendDocumentLine(const storage::RecordRef& record, std::string* out) {
  const storage::DocumentView document(record.document);
  out->append("{\"_id\":");
  const std::optional<storage::FieldValue> own = document.Field("_id");
  if (own.has_value() && std::holds_alternative<int64_t>(*own)) {
    absl::StrAppend(out, std::get<int64_t>(*own));
  } else if (own.has_value() && std::holds_alternative<uint64_t>(*own)) {
    absl::StrAppend(out, std::get<uint64_t>(*own));
  } else {
    storage::AppendJsonString(record.id, out);
  }
  const size_t size = out->size();
  out->push_back(',');
  document.AppendJsonMembers("_id", out);
  if (out->size() == size + 1) out->pop_back();
  out->append("}\n");
}

}  // namespace millrace
