#include <cmath>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "simdjson.h"

#include "millrace/storage/document.h"
#include "millrace/storage/flex_encoder.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {
namespace {

bool IsUtf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

// The first name that stands twice in an object of `value`; none if there is no such.
std::optional<std::string_view> FindDuplicate(FlexValue value) {
  const bool is_object = value.type() == FlexType::kObject;
  if (!is_object && value.type() != FlexType::kArray) return std::nullopt;
  for (size_t i = 0; i < value.size(); ++i) {
    if (is_object && i > 0 && value.NameAt(i) == value.NameAt(i - 1)) return value.NameAt(i);
    if (std::optional<std::string_view> name = FindDuplicate(value.At(i)); name.has_value()) {
      return name;
    }
  }
  return std::nullopt;
}

}  // namespace

// The objects and arrays begun and not yet ended, the document first.
struct DocumentBuilder::State {
  struct Level {
    bool is_object;
    size_t start;
    std::string last_name;
  };

  std::unique_ptr<FlexEncoder> encoder;
  std::vector<Level> levels;
  bool sorted = true;
  absl::Status fault;

  State() { Reset(); }

  void Reset() {
    // Builder's Clear keeps its flag for duplicates.
    if (encoder == nullptr || encoder->builder().HasDuplicateKeys()) {
      encoder = std::make_unique<FlexEncoder>();
    }
    encoder->builder().Clear();
    levels.clear();
    sorted = true;
    fault = absl::OkStatus();
    levels.push_back({.is_object = true, .start = encoder->builder().StartMap()});
  }

  bool Fail(absl::string_view what) {
    if (fault.ok()) fault = absl::InvalidArgumentError(absl::StrCat("document: ", what));
    return false;
  }

  bool HasRoom() {
    if (fault.ok()) fault = encoder->CheckSize();
    return fault.ok();
  }

  bool Begin(bool is_object) {
    if (levels.size() == kDocumentDepthMax) {
      return Fail(absl::StrCat("nested more than ", kDocumentDepthMax, " deep"));
    }
    levels.push_back({.is_object = is_object, .start = encoder->builder().StartVector()});
    return true;
  }

  void EndInnermost() {
    const Level& level = levels.back();
    if (level.is_object) {
      encoder->builder().EndMap(level.start);
    } else {
      encoder->builder().EndVector(level.start, /*typed=*/false, /*fixed=*/false);
    }
    levels.pop_back();
  }
};

DocumentBuilder::DocumentBuilder() : state_(std::make_unique<State>()) {
}
DocumentBuilder::~DocumentBuilder() = default;
DocumentBuilder::DocumentBuilder(DocumentBuilder&&) noexcept = default;
DocumentBuilder& DocumentBuilder::operator=(DocumentBuilder&&) noexcept = default;

bool DocumentBuilder::Name(std::string_view name) {
  State& state = *state_;
  if (!state.HasRoom()) return false;
  State::Level& level = state.levels.back();
  if (!level.is_object) return state.Fail("a name in an array; use Add");
  if (name.find('\0') != std::string_view::npos) return state.Fail("a name that holds NUL");
  if (!IsUtf8(name)) {
    return state.Fail(
        absl::StrCat("the name '", absl::CHexEscape(ToAbsl(name)), "' is not valid UTF-8"));
  }
  if (name < level.last_name) state.sorted = false;
  level.last_name = name;
  state.encoder->Key(name);
  return true;
}

bool DocumentBuilder::Element() {
  State& state = *state_;
  if (!state.fault.ok()) return false;
  if (state.levels.back().is_object) return state.Fail("a value without a name in an object");
  return state.HasRoom();
}

void DocumentBuilder::PutScalar(const FieldValue& value) {
  State& state = *state_;
  flexbuffers::Builder& builder = state.encoder->builder();
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    if (text->size() > kDocumentBytesMax) {
      state.Fail(absl::StrCat("a string of ", text->size(), " bytes; a document has at most ",
                              kDocumentBytesMax));
      return;
    }
    if (!IsUtf8(*text)) {
      state.Fail(absl::StrCat("the string '", absl::CHexEscape(ToAbsl(text->substr(0, 64))),
                              "' is not valid UTF-8"));
      return;
    }
    state.encoder->String(*text);
  } else if (const auto* real = std::get_if<double>(&value)) {
    if (!std::isfinite(*real)) {
      state.Fail("a double that is not finite");
      return;
    }
    builder.Double(*real);
  } else if (const auto* integer = std::get_if<int64_t>(&value)) {
    builder.Int(*integer);
  } else if (const auto* large = std::get_if<uint64_t>(&value)) {
    if (*large > static_cast<uint64_t>(INT64_MAX)) {
      builder.UInt(*large);
    } else {
      builder.Int(static_cast<int64_t>(*large));
    }
  } else if (const auto* truth = std::get_if<bool>(&value)) {
    builder.Bool(*truth);
  } else {
    builder.Null();
  }
}

DocumentBuilder& DocumentBuilder::BeginObject(std::string_view name) {
  if (Name(name)) state_->Begin(/*is_object=*/true);
  return *this;
}

DocumentBuilder& DocumentBuilder::BeginArray(std::string_view name) {
  if (Name(name)) state_->Begin(/*is_object=*/false);
  return *this;
}

DocumentBuilder& DocumentBuilder::BeginObject() {
  if (Element()) state_->Begin(/*is_object=*/true);
  return *this;
}

DocumentBuilder& DocumentBuilder::BeginArray() {
  if (Element()) state_->Begin(/*is_object=*/false);
  return *this;
}

DocumentBuilder& DocumentBuilder::End() {
  if (!state_->fault.ok()) return *this;
  if (state_->levels.size() == 1) {
    state_->Fail("End without a Begin");
  } else {
    state_->EndInnermost();
  }
  return *this;
}

absl::StatusOr<Document> DocumentBuilder::Finish() {
  State& state = *state_;
  if (state.levels.size() != 1) state.Fail("a Begin without its End");
  if (!state.fault.ok()) {
    absl::Status fault = std::move(state.fault);
    state.Reset();
    return fault;
  }
  state.EndInnermost();
  absl::StatusOr<std::string> bytes = state.encoder->Finish();
  const bool duplicates = state.encoder->builder().HasDuplicateKeys();
  const bool sorted = state.sorted;
  state.Reset();
  if (!bytes.ok()) return bytes.status();
  // The flag may be set without a duplicate; it is never clear with one.
  if (duplicates) {
    if (const auto name = FindDuplicate(FlexValue::Root(*bytes)); name.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("document: the name '", ToAbsl(*name), "' stands twice"));
    }
  }
  if (sorted) return Document::FromTrustedBytes(*std::move(bytes));
  FlexEncoder& encoder = FlexEncoder::OfThisThread();
  encoder.Copy(FlexValue::Root(*bytes));
  bytes = encoder.Finish();
  if (!bytes.ok()) return bytes.status();
  return Document::FromTrustedBytes(*std::move(bytes));
}

}  // namespace millrace::storage
