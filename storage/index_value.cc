#include "millrace/storage/index_value.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <type_traits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/row_key.h"

namespace millrace::storage {
namespace {

constexpr char kNullTag = 0x10;
constexpr char kFalseTag = 0x20;
constexpr char kTrueTag = 0x21;
constexpr char kNumberTag = 0x30;
constexpr char kTextTag = 0x40;
constexpr char kBytesTag = 0x50;
constexpr char kEscaped = '\xff';  // Behind 0x00: the text holds a 0x00.
constexpr char kEnd = 0x01;        // Behind 0x00: the text ends.
constexpr char kCut = 0x02;        // Behind 0x00: the text goes on elsewhere.
constexpr size_t kNumberBytes = 1 + 8 + 2;
constexpr double kTwoTo63 = 9223372036854775808.0;
constexpr double kTwoTo64 = 18446744073709551616.0;

void AppendBigEndian(uint64_t value, int bytes, std::string* out) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

uint64_t ReadBigEndian(std::string_view in) {
  uint64_t value = 0;
  for (char byte : in) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

// Bits that order as the doubles do.
uint64_t OrderedBits(double value) {
  const auto bits = std::bit_cast<uint64_t>(value);
  constexpr uint64_t kSign = uint64_t{1} << 63;
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

double FromOrderedBits(uint64_t ordered) {
  constexpr uint64_t kSign = uint64_t{1} << 63;
  return std::bit_cast<double>((ordered & kSign) != 0 ? ordered & ~kSign : ~ordered);
}

void AppendNumber(double floor, uint64_t rest, std::string* out) {
  out->push_back(kNumberTag);
  AppendBigEndian(OrderedBits(floor + 0.0), 8, out);  // -0.0 becomes 0.0.
  AppendBigEndian(rest, 2, out);
}

// The largest double that is not above the integer, and what it lacks: less than 2^11.
void AppendInteger(int64_t value, std::string* out) {
  auto floor = static_cast<double>(value);
  if (floor >= kTwoTo63 || static_cast<int64_t>(floor) > value) {
    floor = std::nextafter(floor, -std::numeric_limits<double>::infinity());
  }
  const uint64_t rest =
      static_cast<uint64_t>(value) - static_cast<uint64_t>(static_cast<int64_t>(floor));
  AppendNumber(floor, rest, out);
}

void AppendInteger(uint64_t value, std::string* out) {
  auto floor = static_cast<double>(value);
  if (floor >= kTwoTo64 || static_cast<uint64_t>(floor) > value) {
    floor = std::nextafter(floor, 0.0);
  }
  AppendNumber(floor, value - static_cast<uint64_t>(floor), out);
}

void AppendEscaped(std::string_view text, std::string* out) {
  for (;;) {
    const size_t zero = text.find('\0');
    if (zero == std::string_view::npos) break;
    out->append(text.substr(0, zero + 1));
    out->push_back(kEscaped);
    text.remove_prefix(zero + 1);
  }
  out->append(text);
}

void AppendText(char tag, std::string_view text, std::string* out) {
  out->push_back(tag);
  AppendEscaped(text, out);
  out->push_back('\0');
  out->push_back(kEnd);
}

bool IsBlankText(std::string_view text) {
  return text.find_first_not_of(" \t\n\v\f\r") == std::string_view::npos;
}

template <typename Value>
void Append(const Value& value, std::string* out) {
  std::visit(
      [out](const auto& held) {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, Null>) {
          out->push_back(kNullTag);
        } else if constexpr (std::is_same_v<T, bool>) {
          out->push_back(held ? kTrueTag : kFalseTag);
        } else if constexpr (std::is_same_v<T, double>) {
          AppendNumber(held, 0, out);
        } else if constexpr (std::is_integral_v<T>) {
          AppendInteger(held, out);
        } else if constexpr (std::is_same_v<T, Bytes>) {
          AppendText(kBytesTag, held.value, out);
        } else if constexpr (!std::is_same_v<T, Nested>) {
          AppendText(kTextTag, held, out);
        }
      },
      value);
}

// The first kIndexTextBytesMax bytes of an escaped text. A 0x00 at the end would be half an escape.
std::string_view KeptText(std::string_view escaped) {
  size_t kept = std::min(escaped.size(), kIndexTextBytesMax);
  if (kept < escaped.size() && escaped[kept - 1] == '\0') --kept;
  return escaped.substr(0, kept);
}

void SetCut(IndexKey* key) {
  key->cut.clear();
  if (key->full.size() <= kIndexValueBytesMax) return;
  const std::string_view escaped = std::string_view(key->full).substr(1, key->full.size() - 3);
  key->cut.push_back(key->full.front());
  key->cut.append(KeptText(escaped));
  key->cut.push_back('\0');
  key->cut.push_back(kCut);
}

template <typename Value>
void Set(const Value& value, IndexKey* key) {
  key->full.clear();
  AppendIndexValue(value, &key->full);
  SetCut(key);
}

bool ConsumeNumber(std::string_view* in, IndexValue* value) {
  if (in->size() < kNumberBytes) return false;
  const std::string_view encoded = in->substr(0, kNumberBytes);
  const double floor = FromOrderedBits(ReadBigEndian(encoded.substr(1, 8)));
  const uint64_t rest = ReadBigEndian(encoded.substr(9, 2));
  in->remove_prefix(kNumberBytes);
  if (floor >= -kTwoTo63 && floor < kTwoTo63 && floor == std::trunc(floor)) {
    const auto whole = static_cast<int64_t>(floor);
    constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
    if (whole > 0 && static_cast<uint64_t>(kMax - whole) < rest) return false;
    *value = static_cast<int64_t>(static_cast<uint64_t>(whole) + rest);
  } else if (floor >= kTwoTo63 && floor < kTwoTo64) {
    const auto whole = static_cast<uint64_t>(floor);
    if (std::numeric_limits<uint64_t>::max() - whole < rest) return false;
    *value = whole + rest;
  } else {
    if (rest != 0) return false;
    *value = floor;
  }
  // A rest that reaches the next double, a NaN or a negative zero were not written by us.
  std::string again;
  AppendIndexValue(*value, &again);
  return CheckIndexValue(*value).ok() && again == encoded;
}

bool ConsumeText(std::string_view* in, std::string* text, bool* cut) {
  for (;;) {
    const size_t zero = in->find('\0');
    if (zero == std::string_view::npos || zero + 1 == in->size()) return false;
    const char next = (*in)[zero + 1];
    if (text != nullptr) text->append(in->substr(0, next == kEscaped ? zero + 1 : zero));
    in->remove_prefix(zero + 2);
    if (next == kEscaped) continue;
    *cut = next == kCut;
    return next == kEnd || next == kCut;
  }
}

}  // namespace

bool IsBlank(const FieldValue& value) {
  if (std::holds_alternative<Null>(value) || std::holds_alternative<Nested>(value)) return true;
  const auto* const text = std::get_if<std::string_view>(&value);
  return text != nullptr && IsBlankText(*text);
}

bool IsBlank(const IndexValue& value) {
  if (std::holds_alternative<Null>(value)) return true;
  const auto* const text = std::get_if<std::string>(&value);
  return text != nullptr && IsBlankText(*text);
}

void AppendIndexValue(const IndexValue& value, std::string* out) {
  Append(value, out);
}

void AppendIndexValue(const FieldValue& value, std::string* out) {
  Append(value, out);
}

std::string IndexTextPrefix(std::string_view prefix) {
  std::string escaped;
  AppendEscaped(prefix, &escaped);
  std::string out(1, kTextTag);
  out.append(KeptText(escaped));
  return out;
}

void SetIndexKey(const IndexValue& value, IndexKey* key) {
  Set(value, key);
}

void SetIndexKey(const FieldValue& value, IndexKey* key) {
  Set(value, key);
}

bool ConsumeIndexValue(std::string_view* in, IndexValue* value, bool* cut) {
  *cut = false;
  if (in->empty()) return false;
  const char tag = in->front();
  if (tag == kNumberTag) return ConsumeNumber(in, value);
  in->remove_prefix(1);
  switch (tag) {
    case kNullTag:
      *value = Null();
      return true;
    case kFalseTag:
    case kTrueTag:
      *value = tag == kTrueTag;
      return true;
    case kTextTag:
      return ConsumeText(in, &value->emplace<std::string>(), cut);
    case kBytesTag:
      return ConsumeText(in, &value->emplace<Bytes>().value, cut);
    default:
      return false;
  }
}

bool SkipIndexValue(std::string_view* in) {
  if (in->empty()) return false;
  const char tag = in->front();
  bool cut = false;
  switch (tag) {
    case kNullTag:
    case kFalseTag:
    case kTrueTag:
      in->remove_prefix(1);
      return true;
    case kNumberTag:
      if (in->size() < kNumberBytes) return false;
      in->remove_prefix(kNumberBytes);
      return true;
    case kTextTag:
    case kBytesTag:
      in->remove_prefix(1);
      return ConsumeText(in, nullptr, &cut);
    default:
      return false;
  }
}

absl::Status CheckIndexValue(const IndexValue& value) {
  const auto* const number = std::get_if<double>(&value);
  if (number == nullptr || !std::isnan(*number)) return absl::OkStatus();
  return absl::InvalidArgumentError("NaN is no value that an index holds");
}

std::string ToString(const IndexValue& value) {
  return std::visit(
      [](const auto& held) -> std::string {
        using T = std::decay_t<decltype(held)>;
        std::string out;
        if constexpr (std::is_same_v<T, Null>) {
          out = "null";
        } else if constexpr (std::is_same_v<T, bool>) {
          out = held ? "true" : "false";
        } else if constexpr (std::is_same_v<T, std::string>) {
          AppendJsonString(held, &out);
        } else if constexpr (std::is_same_v<T, Bytes>) {
          out = absl::StrCat("0x", absl::BytesToHexString(ToAbsl(held.value)));
        } else if constexpr (std::is_same_v<T, double>) {
          char digits[32];
          out.assign(digits, std::to_chars(digits, digits + sizeof(digits), held).ptr);
        } else {
          out = absl::StrCat(held);
        }
        return out;
      },
      value);
}

}  // namespace millrace::storage
