#include "millrace/storage/flex_encoder.h"

#include <memory>

#include "absl/strings/str_cat.h"

#include "millrace/storage/document.h"

namespace millrace::storage {
namespace {

constexpr size_t kInitialBytes = 512;
// A thread's encoder that has grown beyond this is given back.
constexpr size_t kKeptBytesMax = size_t{1} << 18;

}  // namespace

// Sharing names costs a tree node a name, and would make the cost of a walk unbounded.
FlexEncoder::FlexEncoder() : builder_(kInitialBytes, flexbuffers::BUILDER_FLAG_NONE) {
}

FlexEncoder& FlexEncoder::OfThisThread() {
  thread_local std::unique_ptr<FlexEncoder> encoder;
  if (encoder == nullptr || encoder->builder_.GetSize() > kKeptBytesMax) {
    encoder = std::make_unique<FlexEncoder>();
  }
  encoder->builder_.Clear();
  return *encoder;
}

// Builder reads one byte past the length it is given, and writes it as the terminator.
void FlexEncoder::Key(std::string_view text) {
  terminated_.assign(text);
  builder_.Key(terminated_.c_str(), terminated_.size());
}

void FlexEncoder::String(std::string_view text) {
  terminated_.assign(text);
  builder_.String(terminated_.c_str(), terminated_.size());
}

void FlexEncoder::Copy(FlexValue value) {
  switch (value.type()) {
    case FlexType::kNull:
      builder_.Null();
      return;
    case FlexType::kBool:
      builder_.Bool(value.AsBool());
      return;
    case FlexType::kInt:
      builder_.Int(value.AsInt());
      return;
    case FlexType::kUint:
      // Foreign bytes may hold a small number as an unsigned one.
      if (value.AsUint() <= static_cast<uint64_t>(INT64_MAX)) {
        builder_.Int(static_cast<int64_t>(value.AsUint()));
      } else {
        builder_.UInt(value.AsUint());
      }
      return;
    case FlexType::kDouble:
      builder_.Double(value.AsDouble());
      return;
    case FlexType::kString:
      builder_.String(value.AsString().data(), value.AsString().size());
      return;
    case FlexType::kObject: {
      const size_t start = builder_.StartMap();
      for (size_t i = 0; i < value.size(); ++i) CopyMember(value, i);
      builder_.EndMap(start);
      return;
    }
    case FlexType::kArray: {
      const size_t start = builder_.StartVector();
      for (size_t i = 0; i < value.size(); ++i) Copy(value.At(i));
      builder_.EndVector(start, /*typed=*/false, /*fixed=*/false);
      return;
    }
  }
}

void FlexEncoder::CopyMember(FlexValue object, size_t i) {
  const std::string_view name = object.NameAt(i);
  builder_.Key(name.data(), name.size());
  Copy(object.At(i));
}

absl::Status FlexEncoder::CheckSize() const {
  if (builder_.GetSize() <= kDocumentBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the document is larger than ", kDocumentBytesMax,
                   " bytes (encoded); split it, or keep its large parts elsewhere"));
}

absl::StatusOr<std::string> FlexEncoder::Finish() {
  builder_.Finish();
  if (absl::Status s = CheckSize(); !s.ok()) return s;
  const std::vector<uint8_t>& bytes = builder_.GetBuffer();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace millrace::storage
