#include <algorithm>
#include <charconv>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "simdjson.h"

#include "millrace/storage/document.h"
#include "millrace/storage/flex_encoder.h"
#include "millrace/storage/flex_value.h"
#include "millrace/storage/json_fault.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {
namespace {

// A thread's parser that has grown beyond this many bytes of JSON is given back.
constexpr size_t kKeptJsonBytesMax = size_t{1} << 20;

// JSON to FlexBuffer bytes. What simdjson lets through and a document does not is refused here.
class JsonReader {
 public:
  absl::StatusOr<std::string> Read(std::string_view json) {
    members_.clear();
    fault_.clear();
    path_.clear();
    simdjson::dom::element root;
    if (simdjson::error_code error = parser_.parse(json.data(), json.size()).get(root)) {
      return SyntaxError(json, error);
    }
    if (!root.is_object()) return SyntaxError(json, simdjson::INCORRECT_TYPE);
    encoder_ = &FlexEncoder::OfThisThread();
    if (!Encode(root, 0)) return ValueError();
    return encoder_->Finish();
  }

  bool IsLarge() const { return parser_.capacity() > kKeptJsonBytesMax; }

 private:
  struct Member {
    std::string_view name;
    simdjson::dom::element value;
  };

  static absl::Status SyntaxError(std::string_view json, simdjson::error_code error) {
    const JsonFault fault = FindJsonFault(json);
    if (fault.reason.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("JSON: ", simdjson::error_message(error)));
    }
    return absl::InvalidArgumentError(
        absl::StrCat("JSON: ", fault.reason, ", at byte ", fault.offset));
  }

  absl::Status ValueError() {
    if (fault_.empty()) return encoder_->CheckSize();
    std::reverse(path_.begin(), path_.end());
    std::string path;
    for (const std::string& step : path_) path += step;
    return absl::InvalidArgumentError(absl::StrCat("JSON: ", fault_, ", at $", path));
  }

  bool Fail(absl::string_view what) {
    fault_ = std::string(what);
    return false;
  }

  bool Encode(simdjson::dom::element value, int depth) {
    flexbuffers::Builder& builder = encoder_->builder();
    using simdjson::dom::element_type;
    switch (value.type()) {
      case element_type::NULL_VALUE:
        builder.Null();
        return true;
      case element_type::BOOL:
        builder.Bool(value.get_bool().value_unsafe());
        return true;
      case element_type::INT64:
        builder.Int(value.get_int64().value_unsafe());
        return true;
      case element_type::UINT64:
        builder.UInt(value.get_uint64().value_unsafe());
        return true;
      case element_type::DOUBLE:
        builder.Double(value.get_double().value_unsafe());
        return true;
      case element_type::STRING:
        // simdjson puts a NUL behind the string, which Builder copies.
        builder.String(value.get_c_str().value_unsafe(), value.get_string_length().value_unsafe());
        return encoder_->CheckSize().ok();
      case element_type::OBJECT:
        return EncodeObject(value.get_object().value_unsafe(), depth + 1);
      case element_type::ARRAY:
        return EncodeArray(value.get_array().value_unsafe(), depth + 1);
    }
    return Fail("an unknown type");
  }

  bool EncodeArray(simdjson::dom::array array, int depth) {
    if (depth > kDocumentDepthMax) return FailDepth();
    flexbuffers::Builder& builder = encoder_->builder();
    const size_t start = builder.StartVector();
    size_t i = 0;
    for (simdjson::dom::element value : array) {
      if (!Encode(value, depth)) {
        path_.push_back(absl::StrCat("[", i, "]"));
        return false;
      }
      ++i;
    }
    builder.EndVector(start, /*typed=*/false, /*fixed=*/false);
    return encoder_->CheckSize().ok();
  }

  // Members are put in order first: the same value gives the same bytes, and a name that stands
  // twice stands beside itself.
  bool EncodeObject(simdjson::dom::object object, int depth) {
    if (depth > kDocumentDepthMax) return FailDepth();
    const size_t begin = members_.size();
    bool sorted = true;
    for (simdjson::dom::key_value_pair member : object) {
      if (members_.size() > begin && member.key <= members_.back().name) sorted = false;
      members_.push_back({member.key, member.value});
    }
    const size_t end = members_.size();
    if (!sorted && !SortMembers(begin)) return false;
    flexbuffers::Builder& builder = encoder_->builder();
    const size_t start = builder.StartMap();
    for (size_t i = begin; i < end; ++i) {
      const Member member = members_[i];
      if (member.name.find('\0') != std::string_view::npos) return Fail("a name that holds NUL");
      builder.Key(member.name.data(), member.name.size());
      if (!Encode(member.value, depth)) {
        path_.push_back(absl::StrCat(".", ToAbsl(member.name)));
        return false;
      }
    }
    builder.EndMap(start);
    members_.resize(begin);
    return encoder_->CheckSize().ok();
  }

  bool SortMembers(size_t begin) {
    const auto first = members_.begin() + static_cast<std::ptrdiff_t>(begin);
    std::sort(first, members_.end(),
              [](const Member& a, const Member& b) { return a.name < b.name; });
    const auto twice = std::adjacent_find(
        first, members_.end(), [](const Member& a, const Member& b) { return a.name == b.name; });
    if (twice == members_.end()) return true;
    return Fail(absl::StrCat("the name '", ToAbsl(twice->name), "' stands twice"));
  }

  bool FailDepth() { return Fail(absl::StrCat("nested more than ", kDocumentDepthMax, " deep")); }

  simdjson::dom::parser parser_;
  FlexEncoder* encoder_ = nullptr;
  std::vector<Member> members_;  // Of the objects being encoded, the outermost first.
  std::string fault_;
  std::vector<std::string> path_;  // To the fault, innermost step first.
};

void AppendDouble(double value, std::string* out) {
  char text[32];
  const char* const end = std::to_chars(text, text + sizeof(text), value).ptr;
  const std::string_view shortest(text, end - text);
  out->append(shortest);
  if (shortest.find_first_of(".e") == std::string_view::npos) out->append(".0");
}

template <typename T>
void AppendInteger(T value, std::string* out) {
  char text[24];
  out->append(text, std::to_chars(text, text + sizeof(text), value).ptr);
}

void AppendValue(FlexValue value, std::string* out);

void AppendMembers(FlexValue object, const std::string_view* except, std::string* out) {
  bool first = true;
  for (size_t i = 0; i < object.size(); ++i) {
    const std::string_view name = object.NameAt(i);
    if (except != nullptr && name == *except) continue;
    if (!first) out->push_back(',');
    first = false;
    AppendJsonString(name, out);
    out->push_back(':');
    AppendValue(object.At(i), out);
  }
}

void AppendValue(FlexValue value, std::string* out) {
  switch (value.type()) {
    case FlexType::kNull:
      out->append("null");
      return;
    case FlexType::kBool:
      out->append(value.AsBool() ? "true" : "false");
      return;
    case FlexType::kInt:
      AppendInteger(value.AsInt(), out);
      return;
    case FlexType::kUint:
      AppendInteger(value.AsUint(), out);
      return;
    case FlexType::kDouble:
      AppendDouble(value.AsDouble(), out);
      return;
    case FlexType::kString:
      AppendJsonString(value.AsString(), out);
      return;
    case FlexType::kObject:
      out->push_back('{');
      AppendMembers(value, nullptr, out);
      out->push_back('}');
      return;
    case FlexType::kArray:
      out->push_back('[');
      for (size_t i = 0; i < value.size(); ++i) {
        if (i > 0) out->push_back(',');
        AppendValue(value.At(i), out);
      }
      out->push_back(']');
      return;
  }
}

void AppendEscape(char c, std::string* out) {
  constexpr char kHexDigits[] = "0123456789abcdef";
  constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
  constexpr std::string_view kLetters = "\"\\bfnrt";
  out->push_back('\\');
  if (const size_t i = kShort.find(c); i != std::string_view::npos) {
    out->push_back(kLetters[i]);
    return;
  }
  out->append("u00");
  out->push_back(kHexDigits[static_cast<uint8_t>(c) >> 4]);
  out->push_back(kHexDigits[static_cast<uint8_t>(c) & 15]);
}

}  // namespace

void AppendJsonString(std::string_view text, std::string* out) {
  out->push_back('"');
  size_t copied = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    out->append(text, copied, i - copied);
    AppendEscape(text[i], out);
    copied = i + 1;
  }
  out->append(text, copied);
  out->push_back('"');
}

std::string DocumentView::ToJson() const {
  std::string json;
  json.reserve(2 * bytes_.size());
  AppendJson(&json);
  return json;
}

void DocumentView::AppendJson(std::string* out) const {
  AppendValue(FlexValue::Root(bytes_), out);
}

void DocumentView::AppendJsonMembers(std::string_view except, std::string* out) const {
  AppendMembers(FlexValue::Root(bytes_), &except, out);
}

absl::StatusOr<Document> Document::FromJson(std::string_view json) {
  thread_local std::unique_ptr<JsonReader> reader;
  if (reader == nullptr) reader = std::make_unique<JsonReader>();
  absl::StatusOr<std::string> bytes = reader->Read(json);
  if (reader->IsLarge()) reader.reset();
  if (!bytes.ok()) return bytes.status();
  return Document(*std::move(bytes));
}

}  // namespace millrace::storage
