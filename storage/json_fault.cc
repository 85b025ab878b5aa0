#include "millrace/storage/json_fault.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "simdjson.h"

#include "millrace/storage/document.h"

namespace millrace::storage {
namespace {

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

// The length of the character at the front of `text`; 0 if it is not valid UTF-8.
size_t Utf8Length(std::string_view text) {
  for (size_t length = 1; length <= 4 && length <= text.size(); ++length) {
    if (simdjson::validate_utf8(text.data(), length)) return length;
  }
  return 0;
}

class JsonScanner {
 public:
  explicit JsonScanner(std::string_view json) : json_(json) {}

  JsonFault Scan() {
    SkipSpace();
    if (AtEnd()) {
      Fail("empty");
    } else if (Peek() != '{') {
      Fail("the top level is not an object");
    } else if (Nested(1)) {
      SkipSpace();
      if (!AtEnd()) Fail("text after the document");
    }
    return fault_;
  }

 private:
  bool AtEnd() const { return at_ >= json_.size(); }
  char Peek() const { return AtEnd() ? '\0' : json_[at_]; }
  bool Take(char c) {
    if (AtEnd() || json_[at_] != c) return false;
    ++at_;
    return true;
  }
  void SkipSpace() {
    while (!AtEnd() && std::string_view(" \t\n\r").find(json_[at_]) != std::string_view::npos)
      ++at_;
  }

  bool Fail(std::string_view reason) { return FailAt(at_, reason); }
  bool FailAt(size_t offset, std::string_view reason) {
    fault_ = {.offset = offset, .reason = std::string(reason)};
    return false;
  }

  bool Value(int depth) {
    switch (Peek()) {
      case '{':
      case '[':
        return Nested(depth + 1);
      case '"':
        return String();
      case 't':
        return Literal("true");
      case 'f':
        return Literal("false");
      case 'n':
        return Literal("null");
      default:
        if (Peek() == '-' || IsDigit(Peek())) return Number();
        return Fail(AtEnd() ? "the text ends where a value should be" : "not a value");
    }
  }

  bool Literal(std::string_view word) {
    if (json_.substr(at_, word.size()) != word) return Fail("not a value");
    at_ += word.size();
    return true;
  }

  bool Nested(int depth) {
    if (depth > kDocumentDepthMax) {
      return Fail("nested more than " + std::to_string(kDocumentDepthMax) + " deep");
    }
    const bool is_object = Peek() == '{';
    const char close = is_object ? '}' : ']';
    ++at_;
    SkipSpace();
    if (Take(close)) return true;
    for (;;) {
      SkipSpace();
      if (is_object && !Name()) return false;
      SkipSpace();
      if (!Value(depth)) return false;
      SkipSpace();
      if (Take(close)) return true;
      if (!Take(',')) return Fail(is_object ? "expected ',' or '}'" : "expected ',' or ']'");
    }
  }

  bool Name() {
    if (Peek() != '"') return Fail("expected a name in quotes");
    if (!String()) return false;
    SkipSpace();
    return Take(':') || Fail("expected ':'");
  }

  bool String() {
    const size_t begin = at_++;
    while (!AtEnd() && json_[at_] != '"') {
      if (json_[at_] == '\\') {
        if (!Escape()) return false;
        continue;
      }
      if (static_cast<uint8_t>(json_[at_]) < 0x20) {
        return Fail("a control character in a string; write it as an escape");
      }
      const size_t length = Utf8Length(json_.substr(at_));
      if (length == 0) return Fail("invalid UTF-8");
      at_ += length;
    }
    return Take('"') || FailAt(begin, "a string without end");
  }

  bool Escape() {
    const size_t begin = at_++;
    const char kind = Peek();
    if (kind == 'u') {
      unsigned unit;
      if (!HexUnit(&unit)) return FailAt(begin, "a bad \\u escape");
      if (unit >= 0xdc00 && unit <= 0xdfff) return FailAt(begin, "half a surrogate pair");
      if (unit < 0xd800 || unit > 0xdbff) return true;
      if (Take('\\') && Peek() == 'u' && HexUnit(&unit) && unit >= 0xdc00 && unit <= 0xdfff) {
        return true;
      }
      return FailAt(begin, "half a surrogate pair");
    }
    if (AtEnd() || std::string_view("\"\\/bfnrt").find(kind) == std::string_view::npos) {
      return FailAt(begin, "a bad escape");
    }
    ++at_;
    return true;
  }

  // The 'u' and four digits.
  bool HexUnit(unsigned* unit) {
    const std::string_view digits = json_.substr(at_ + 1, 4);
    const char* const end = digits.data() + digits.size();
    const auto result = std::from_chars(digits.data(), end, *unit, 16);
    at_ += 1 + digits.size();
    return digits.size() == 4 && result.ec == std::errc() && result.ptr == end;
  }

  bool Number() {
    const size_t begin = at_;
    Take('-');
    if (!IsDigit(Peek())) return FailAt(begin, "a bad number");
    if (Take('0')) {
      if (IsDigit(Peek())) return FailAt(begin, "a number with a leading zero");
    } else {
      SkipDigits();
    }
    bool is_integer = true;
    if (Take('.')) {
      is_integer = false;
      if (!SkipDigits()) return FailAt(begin, "a bad number");
    }
    if (Take('e') || Take('E')) {
      is_integer = false;
      if (!Take('+')) Take('-');
      if (!SkipDigits()) return FailAt(begin, "a bad number");
    }
    const std::string text(json_.substr(begin, at_ - begin));
    if (is_integer ? !IsInRange(text) : !std::isfinite(std::strtod(text.c_str(), nullptr))) {
      return FailAt(begin, is_integer ? "an integer outside [-2^63, 2^64)"
                                      : "a number too large for a double");
    }
    return true;
  }

  bool SkipDigits() {
    const size_t begin = at_;
    while (IsDigit(Peek())) ++at_;
    return at_ > begin;
  }

  static bool IsInRange(std::string_view text) {
    const char* const end = text.data() + text.size();
    int64_t narrow;
    uint64_t wide;
    return std::from_chars(text.data(), end, narrow).ec == std::errc() ||
           (text.front() != '-' && std::from_chars(text.data(), end, wide).ec == std::errc());
  }

  const std::string_view json_;
  size_t at_ = 0;
  JsonFault fault_;
};

}  // namespace

JsonFault FindJsonFault(std::string_view json) {
  return JsonScanner(json).Scan();
}

}  // namespace millrace::storage
