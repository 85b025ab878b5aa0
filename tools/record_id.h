#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/document.h"

namespace millrace {

// Which fields of a record make its id: the value of one, or of several joined by ':'. A string as
// it is, an integer as decimal text. Value.
class IdRule {
 public:
  static IdRule OfField(std::string_view field);
  // "Package:Architecture": the values of both.
  static IdRule OfJoinedFields(std::string_view fields);

  // InvalidArgument if a field is absent or neither string nor integer, or the id is not one
  // (empty, above 255 bytes), or the document has an `_id` that differs.
  absl::StatusOr<std::string> IdOf(const storage::Document& document) const;

 private:
  explicit IdRule(std::vector<std::string> fields) : fields_(std::move(fields)) {}

  std::vector<std::string> fields_;
};

// The text of a field that can be an id; none for other types.
std::optional<std::string> IdText(const storage::FieldValue& value);

// InvalidArgument if the document has an `_id` of its own that is not `id`: scan shows the id under
// that name, so the two must not contradict.
absl::Status CheckOwnId(const storage::Document& document, std::string_view id);

}  // namespace millrace
