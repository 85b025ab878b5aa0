#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "simdjson.h"

#include "millrace/storage/document.h"

namespace millrace::storage {
namespace {

// Writes random JSON objects in random spelling: white space, escapes, order and number forms.
class RandomJson {
 public:
  explicit RandomJson(uint64_t seed) : random_(seed) {}

  std::string Object() {
    std::string out;
    AppendObject(1, &out);
    return out;
  }

  uint64_t Below(uint64_t bound) { return random_() % bound; }

 private:
  void AppendSpace(std::string* out) {
    while (Below(8) == 0) out->push_back(" \t\r\n"[Below(4)]);
  }

  void AppendObject(int depth, std::string* out) {
    out->push_back('{');
    std::set<std::string> names;
    const uint64_t count = Below(depth == 1 && Below(20) == 0 ? 300 : 6);
    for (uint64_t i = 0; i < count; ++i) {
      std::string name;
      AppendCharacters(false, &name);
      if (!names.insert(name + std::to_string(i)).second) continue;
      if (i > 0) out->push_back(',');
      AppendSpace(out);
      // The number at the end makes names unique, however they are escaped.
      out->append("\"" + name + std::to_string(i) + "\"");
      AppendSpace(out);
      out->push_back(':');
      AppendSpace(out);
      AppendValue(depth, out);
      AppendSpace(out);
    }
    AppendSpace(out);
    out->push_back('}');
  }

  void AppendArray(int depth, std::string* out) {
    out->push_back('[');
    const uint64_t count = Below(depth == 1 && Below(30) == 0 ? 400 : 5);
    const uint64_t only = Below(2) == 0 ? Below(9) : 9;
    for (uint64_t i = 0; i < count; ++i) {
      if (i > 0) out->push_back(',');
      AppendSpace(out);
      AppendKind(only < 7 ? only : Below(9), depth, out);
      AppendSpace(out);
    }
    out->push_back(']');
  }

  void AppendValue(int depth, std::string* out) { AppendKind(Below(9), depth, out); }

  void AppendKind(uint64_t kind, int depth, std::string* out) {
    switch (kind) {
      case 0:
        out->append("null");
        return;
      case 1:
      case 2:
        out->append(Below(2) == 0 ? "true" : "false");
        return;
      case 3:
      case 4:
        AppendInteger(out);
        return;
      case 5:
        AppendDouble(out);
        return;
      case 6:
        out->push_back('"');
        AppendCharacters(true, out);
        out->push_back('"');
        return;
      case 7:
        return depth < 6 ? AppendObject(depth + 1, out) : AppendInteger(out);
      default:
        return depth < 6 ? AppendArray(depth + 1, out) : AppendDouble(out);
    }
  }

  void AppendInteger(std::string* out) {
    const uint64_t bits = random_() >> Below(64);
    out->append(Below(2) == 0 ? std::to_string(bits) : std::to_string(static_cast<int64_t>(bits)));
  }

  void AppendDouble(std::string* out) {
    const uint64_t bits = random_();
    double value;
    std::memcpy(&value, &bits, sizeof(value));
    if (Below(3) == 0) value = static_cast<float>(Below(1000)) / 8;
    if (!std::isfinite(value)) value = -0.0;
    char text[400];
    const auto form = Below(2) == 0 ? std::chars_format::scientific : std::chars_format::general;
    std::string number(text, std::to_chars(text, text + sizeof(text), value, form).ptr);
    if (number.find_first_of(".e") == std::string::npos) number += "e0";
    out->append(number);
  }

  void AppendCharacters(bool with_nul, std::string* out) {
    static constexpr const char* kPieces[] = {"a",
                                              "B",
                                              "\\u0041",
                                              "\xc3\xa9",
                                              "\xe2\x82\xac",
                                              "\xf0\x9f\x98\x80",
                                              "\\ud83d\\ude00",
                                              "\\n",
                                              "\\\"",
                                              "\\\\",
                                              "\\/",
                                              "\\u001f",
                                              "\x7f",
                                              " ",
                                              "\\t",
                                              "\\uffff"};
    const uint64_t count = Below(Below(10) == 0 ? 300 : 7);
    for (uint64_t i = 0; i < count; ++i) out->append(kPieces[Below(std::size(kPieces))]);
    if (with_nul && Below(10) == 0) out->append("\\u0000");
  }

  std::mt19937_64 random_;
};

// Whether two parsed values are the same, doubles bit for bit.
bool IsSame(simdjson::dom::element a, simdjson::dom::element b) {
  using simdjson::dom::element_type;
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case element_type::NULL_VALUE:
      return true;
    case element_type::BOOL:
      return bool(a) == bool(b);
    case element_type::INT64:
      return int64_t(a) == int64_t(b);
    case element_type::UINT64:
      return uint64_t(a) == uint64_t(b);
    case element_type::DOUBLE: {
      const double x = a;
      const double y = b;
      return std::bit_cast<uint64_t>(x) == std::bit_cast<uint64_t>(y);
    }
    case element_type::STRING:
      return std::string_view(a) == std::string_view(b);
    case element_type::ARRAY: {
      const simdjson::dom::array x = a;
      const simdjson::dom::array y = b;
      if (x.size() != y.size()) return false;
      auto other = y.begin();
      for (simdjson::dom::element value : x) {
        if (!IsSame(value, *other)) return false;
        ++other;
      }
      return true;
    }
    case element_type::OBJECT: {
      std::map<std::string_view, simdjson::dom::element> members;
      for (simdjson::dom::key_value_pair member : simdjson::dom::object(b)) {
        members.emplace(member.key, member.value);
      }
      size_t count = 0;
      for (simdjson::dom::key_value_pair member : simdjson::dom::object(a)) {
        const auto other = members.find(member.key);
        if (other == members.end() || !IsSame(member.value, other->second)) return false;
        ++count;
      }
      return count == members.size();
    }
  }
  return false;
}

TEST(DocumentRandomTest, AnyJsonObjectRoundTripsAsAValue) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  RandomJson random(seed);
  simdjson::dom::parser want_parser;
  simdjson::dom::parser got_parser;
  for (int round = 0; round < 2'000; ++round) {
    const std::string json = random.Object();
    const absl::StatusOr<Document> document = Document::FromJson(json);
    ASSERT_TRUE(document.ok()) << document.status() << "\n" << json;
    const std::string printed = document->ToJson();
    simdjson::dom::element want;
    simdjson::dom::element got;
    ASSERT_EQ(want_parser.parse(json).get(want), simdjson::SUCCESS) << json;
    ASSERT_EQ(got_parser.parse(printed).get(got), simdjson::SUCCESS) << printed;
    ASSERT_TRUE(IsSame(want, got)) << json << "\n" << printed;
    // Printing and reading again changes nothing, and neither does another's reading of the bytes.
    const absl::StatusOr<Document> again = Document::FromJson(printed);
    ASSERT_TRUE(again.ok()) << again.status() << "\n" << printed;
    ASSERT_EQ(*again, *document) << json;
    const absl::StatusOr<Document> checked = Document::FromBytes(document->bytes());
    ASSERT_TRUE(checked.ok()) << checked.status() << "\n" << json;
    ASSERT_EQ(*checked, *document) << json;
  }
}

TEST(DocumentRandomTest, DamagedJsonIsRefusedOrReadAsSimdjsonReadsIt) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  RandomJson random(seed);
  simdjson::dom::parser parser;
  int refused_count = 0;
  for (int round = 0; round < 5'000; ++round) {
    std::string json = random.Object();
    for (uint64_t i = 0; i <= random.Below(3); ++i) {
      const size_t at = random.Below(json.size());
      if (random.Below(2) == 0) {
        json[at] = "{}[],:\"\\0-e.\xff\x80 tn"[random.Below(17)];
      } else {
        json.erase(at, 1 + random.Below(3));
      }
      if (json.empty()) json = "{";
    }
    const absl::StatusOr<Document> document = Document::FromJson(json);
    simdjson::dom::element want;
    if (parser.parse(json).get(want) != simdjson::SUCCESS) {
      ASSERT_FALSE(document.ok()) << json;
      // The slow scan finds the fault that simdjson found: it knows the place.
      ASSERT_NE(document.status().message().find(", at byte "), std::string::npos)
          << document.status() << "\n"
          << json;
      ++refused_count;
    } else if (document.ok()) {
      const std::string printed = document->ToJson();
      simdjson::dom::parser printed_parser;
      simdjson::dom::element got;
      ASSERT_EQ(printed_parser.parse(printed).get(got), simdjson::SUCCESS) << printed;
      ASSERT_TRUE(IsSame(want, got)) << json << "\n" << printed;
    }
  }
  EXPECT_GT(refused_count, 100);
}

TEST(DocumentRandomTest, EveryDoubleKeepsItsBits) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 50'000; ++round) {
    const uint64_t bits = random();
    double value;
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) continue;
    DocumentBuilder builder;
    const absl::StatusOr<Document> built = builder.Set("d", value).Finish();
    ASSERT_TRUE(built.ok()) << built.status();
    const absl::StatusOr<Document> read = Document::FromJson(built->ToJson());
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_EQ(*read, *built) << built->ToJson();
    const double got = std::get<double>(*read->Field("d"));
    ASSERT_EQ(std::bit_cast<uint64_t>(got), bits) << built->ToJson();
  }
}

}  // namespace
}  // namespace millrace::storage
