#include "millrace/storage/document.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/flex_encoder.h"
#include "millrace/storage/flex_value.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {
namespace {

FieldValue ToFieldValue(FlexValue value) {
  switch (value.type()) {
    case FlexType::kNull:
      return Null();
    case FlexType::kBool:
      return value.AsBool();
    case FlexType::kInt:
      return value.AsInt();
    case FlexType::kUint:
      return value.AsUint();
    case FlexType::kDouble:
      return value.AsDouble();
    case FlexType::kString:
      return value.AsString();
    case FlexType::kObject:
      return Nested::kObject;
    case FlexType::kArray:
      return Nested::kArray;
  }
  return Null();
}

std::string EncodeEmptyObject() {
  FlexEncoder encoder;
  encoder.builder().EndMap(encoder.builder().StartMap());
  return *encoder.Finish();
}

}  // namespace

std::optional<FieldValue> DocumentView::Field(std::string_view name) const {
  return Field(absl::MakeConstSpan(&name, 1));
}

std::optional<FieldValue> DocumentView::Field(absl::Span<const std::string_view> path) const {
  FlexValue value = FlexValue::Root(bytes_);
  for (std::string_view name : path) {
    if (value.type() != FlexType::kObject) return std::nullopt;
    const std::optional<FlexValue> member = value.Find(name);
    if (!member.has_value()) return std::nullopt;
    value = *member;
  }
  return ToFieldValue(value);
}

Document::Document() {
  static const std::string& empty = *new std::string(EncodeEmptyObject());
  bytes_ = empty;
}

Document Document::FromTrustedBytes(std::string bytes) {
  return Document(std::move(bytes));
}

// Copied, so that bytes of another writer become the ones that we would have written.
absl::StatusOr<Document> Document::FromBytes(std::string_view bytes) {
  if (absl::Status s = CheckFlexBytes(bytes); !s.ok()) return s;
  FlexEncoder& encoder = FlexEncoder::OfThisThread();
  encoder.Copy(FlexValue::Root(bytes));
  absl::StatusOr<std::string> copy = encoder.Finish();
  if (!copy.ok()) return copy.status();
  return Document(*std::move(copy));
}

absl::StatusOr<Document> Document::Merge(std::string_view base, const Document& fields) {
  const FlexValue old_object = FlexValue::Root(base);
  const FlexValue new_object = FlexValue::Root(fields.bytes());
  const size_t old_count = old_object.size();
  const size_t new_count = new_object.size();
  FlexEncoder& encoder = FlexEncoder::OfThisThread();
  const size_t start = encoder.builder().StartMap();
  size_t i = 0;
  size_t j = 0;
  while (i < old_count || j < new_count) {
    int order = i < old_count ? -1 : 1;
    if (i < old_count && j < new_count) order = old_object.NameAt(i).compare(new_object.NameAt(j));
    if (order < 0) {
      encoder.CopyMember(old_object, i++);
    } else {
      encoder.CopyMember(new_object, j++);
      if (order == 0) ++i;
    }
  }
  encoder.builder().EndMap(start);
  absl::StatusOr<std::string> merged = encoder.Finish();
  if (!merged.ok()) return merged.status();
  return Document(*std::move(merged));
}

}  // namespace millrace::storage
