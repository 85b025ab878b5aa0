#include "millrace/storage/document.h"

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

Document FromJson(std::string_view json) {
  absl::StatusOr<Document> document = Document::FromJson(json);
  EXPECT_TRUE(document.ok()) << json << ": " << document.status();
  return document.ok() ? *std::move(document) : Document();
}

std::string Hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    out.push_back("0123456789abcdef"[static_cast<uint8_t>(c) >> 4]);
    out.push_back("0123456789abcdef"[static_cast<uint8_t>(c) & 15]);
  }
  return out;
}

TEST(DocumentTest, JsonComesBackSortedAndCompact) {
  struct Case {
    const char* json;
    const char* want;
  };
  const Case cases[] = {
      {"{}", "{}"},
      {" \t\r\n{ \"b\" : 1 , \"a\" : [ ] } ", R"({"a":[],"b":1})"},
      {R"({"z":{"y":{},"x":[[],[[]]]},"":null})", R"({"":null,"z":{"x":[[],[[]]],"y":{}}})"},
      {R"({"a":[true,false,null,1,-1,2.5,"s",{},[]]})",
       R"({"a":[true,false,null,1,-1,2.5,"s",{},[]]})"},
      {R"({"a":[true,true,false]})", R"({"a":[true,true,false]})"},
      {R"({"a":[1,2,3]})", R"({"a":[1,2,3]})"},
      {R"({"a":[1,2],"b":["x","y"],"c":[1.5,2.5,3.5]})",
       R"({"a":[1,2],"b":["x","y"],"c":[1.5,2.5,3.5]})"},
      {R"({"a":[0,300,70000,5000000000]})", R"({"a":[0,300,70000,5000000000]})"},
      {R"({"i":-9223372036854775808,"j":9223372036854775807,"k":18446744073709551615})",
       R"({"i":-9223372036854775808,"j":9223372036854775807,"k":18446744073709551615})"},
      {R"({"i":9223372036854775808,"z":-0})", R"({"i":9223372036854775808,"z":0})"},
      {R"({"a":1.0,"b":-0.0,"c":1e2,"d":1E400e})", nullptr},
      {R"({"a":1.0,"b":-0.0,"c":1e2,"d":1e22,"e":5e-324,"f":1e-999})",
       R"({"a":1.0,"b":-0.0,"c":100.0,"d":1e+22,"e":5e-324,"f":0.0})"},
      {R"({"a":0.1,"b":1.7976931348623157e308,"c":123456789.125})",
       R"({"a":0.1,"b":1.7976931348623157e+308,"c":123456789.125})"},
      {R"({"s":"\u00e9\ud83d\ude00\u0000\u001f\"\\\/\b\f\n\r\t\u007f"})",
       "{\"s\":\"\xc3\xa9\xf0\x9f\x98\x80\\u0000\\u001f\\\"\\\\/\\b\\f\\n\\r\\t\x7f\"}"},
      {R"({"\u0061\n":1})", R"({"a\n":1})"},
  };
  for (const Case& c : cases) {
    if (c.want == nullptr) {
      EXPECT_FALSE(Document::FromJson(c.json).ok()) << c.json;
      continue;
    }
    const Document document = FromJson(c.json);
    EXPECT_EQ(document.ToJson(), c.want);
    EXPECT_EQ(FromJson(document.ToJson()), document) << c.json;
    const absl::StatusOr<Document> copy = Document::FromBytes(document.bytes());
    ASSERT_TRUE(copy.ok()) << copy.status();
    EXPECT_EQ(Hex(copy->bytes()), Hex(document.bytes())) << c.json;
  }
}

// The form on disk: a change of it is a change of the store's format.
TEST(DocumentTest, BytesAreGolden) {
  struct Case {
    const char* json;
    const char* bytes;
  };
  const Case cases[] = {
      {"{}", "00000100002401"},
      {R"({"a":1})", "610001030101010104022401"},
      {R"({"n":null,"t":true,"d":-0.5,"s":"hi","l":[1,300,"x"]})",
       "64006c0001780000030001002c0109000505146e007300026869007400051e1d0d0c07000600000001000000050"
       "00000000000bf2a0000000000000024000000010000000e2902146a192601"},
      {R"({"u":18446744073709551615,"o":{"k":[]}})",
       "6f006b0000010401010105287500020f04000000000000000900000000000000010000000000000002000000000"
       "000002600000000000000ffffffffffffffff240b122701"},
  };
  for (const Case& c : cases) EXPECT_EQ(Hex(FromJson(c.json).bytes()), c.bytes) << c.json;
}

TEST(DocumentTest, EqualValuesHaveEqualBytes) {
  const Document one = FromJson(R"({"a":{"x":1,"y":"text"},"b":[1.5]})");
  EXPECT_EQ(one, FromJson(R"( {"b":[15e-1],"a":{"y":"te\u0078t","x":1}} )"));
  EXPECT_NE(one, FromJson(R"({"a":{"x":1.0,"y":"text"},"b":[1.5]})"));
  EXPECT_NE(FromJson(R"({"a":0.0})"), FromJson(R"({"a":-0.0})"));
  EXPECT_EQ(Document(), FromJson("{}"));
}

TEST(DocumentTest, RefusalsNameTheFaultAndThePlace) {
  struct Case {
    std::string json;
    const char* want;
  };
  const Case cases[] = {
      {"", "empty"},
      {"  ", "empty"},
      {"[1]", "top level is not an object, at byte 0"},
      {" 3", "top level is not an object, at byte 1"},
      {"\"s\"", "top level is not an object"},
      {"\xef\xbb\xbf{}", "top level is not an object"},
      {"{", "expected a name"},
      {"{\"a\":", "text ends"},
      {"{\"a\":1", "expected ',' or '}'"},
      {"{\"a\":1}}", "text after the document, at byte 7"},
      {"{\"a\":1} {}", "text after the document, at byte 8"},
      {"{\"a\":1,}", "expected a name"},
      {"{'a':1}", "expected a name"},
      {"{\"a\" 1}", "expected ':', at byte 5"},
      {"{\"a\":[1,]}", "not a value, at byte 8"},
      {"{\"a\":[1 2]}", "expected ',' or ']', at byte 8"},
      {"{\"a\":tru}", "not a value, at byte 5"},
      {"{\"a\":NaN}", "not a value"},
      {"{\"a\":Infinity}", "not a value"},
      {"{\"a\":01}", "leading zero"},
      {"{\"a\":1.}", "bad number"},
      {"{\"a\":+1}", "not a value"},
      {"{\"a\":-}", "bad number"},
      {"{\"a\":18446744073709551616}", "an integer outside [-2^63, 2^64), at byte 5"},
      {"{\"a\":-9223372036854775809}", "an integer outside"},
      {"{\"a\":123456789012345678901234567890}", "an integer outside"},
      {"{\"a\":1e309}", "too large for a double, at byte 5"},
      {"{\"a\":-1e999}", "too large for a double"},
      {"{\"a\":\"\x01\"}", "control character"},
      {std::string("{\"a\":\"\0\"}", 9), "control character"},
      {"{\"a\":\"\\x\"}", "bad escape, at byte 6"},
      {"{\"a\":\"\\u12g4\"}", "bad \\u escape"},
      {"{\"a\":\"\\ud800\"}", "half a surrogate pair, at byte 6"},
      {"{\"a\":\"\\ud800\\u0041\"}", "half a surrogate pair"},
      {"{\"a\":\"\\udc00\"}", "half a surrogate pair"},
      {"{\"a\":\"unfinished}", "string without end, at byte 5"},
      {"{\"a\":\"\xff\"}", "invalid UTF-8, at byte 6"},
      {"{\"a\":\"\xc0\x80\"}", "invalid UTF-8"},
      {"{\"a\":\"\xed\xa0\x80\"}", "invalid UTF-8"},
      {"{\"a\":\"\xf4\x90\x80\x80\"}", "invalid UTF-8"},
      {"{\"a\":\"\xe2\x82\"}", "invalid UTF-8"},
      {"{\"\xff\":1}", "invalid UTF-8, at byte 2"},
      {R"({"a":1,"b":2,"a":3})", "the name 'a' stands twice, at $"},
      {R"({"x":[0,{"a":1,"\u0061":3}]})", "the name 'a' stands twice, at $.x[1]"},
      {R"({"x":{"a\u0000":1}})", "a name that holds NUL, at $.x"},
      {R"({"":1,"\u0000":2})", "a name that holds NUL"},
  };
  for (const Case& c : cases) {
    const absl::Status status = Document::FromJson(c.json).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.json;
    EXPECT_NE(status.message().find(c.want), std::string::npos) << c.json << "\n" << status;
  }
}

std::string NestedArrays(int depth) {
  return "{\"a\":" + std::string(depth, '[') + std::string(depth, ']') + "}";
}

std::string NestedObjects(int depth) {
  std::string json;
  for (int i = 0; i < depth; ++i) json += "{\"a\":";
  return json + "1" + std::string(depth, '}');
}

TEST(DocumentTest, DepthOf256IsAllowedAndNoMore) {
  for (const std::string& json : {NestedArrays(255), NestedObjects(256)}) {
    const Document document = FromJson(json);
    EXPECT_EQ(document.ToJson(), json);
    EXPECT_TRUE(Document::FromBytes(document.bytes()).ok());
  }
  for (const std::string& json : {NestedArrays(256), NestedObjects(257), NestedArrays(1023),
                                  NestedArrays(5000), NestedObjects(100'000)}) {
    const absl::Status status = Document::FromJson(json).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("nested more than 256"), std::string::npos) << status;
  }
}

TEST(DocumentTest, OneMebibyteIsAllowedAndNoMore) {
  const auto json = [](size_t size) { return "{\"a\":\"" + std::string(size, 'x') + "\"}"; };
  const size_t overhead = FromJson(json(100'000)).bytes().size() - 100'000;
  const Document largest = FromJson(json(kDocumentBytesMax - overhead));
  EXPECT_EQ(largest.bytes().size(), kDocumentBytesMax);
  EXPECT_TRUE(Document::FromBytes(largest.bytes()).ok());
  for (size_t size : {kDocumentBytesMax - overhead + 4, 4 * kDocumentBytesMax}) {
    const absl::Status status = Document::FromJson(json(size)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("larger than 1048576 bytes"), std::string::npos) << status;
  }
  std::string wide = "{\"a\":[";
  for (int i = 0; i < 200'000; ++i) wide += "\"abc\",";
  EXPECT_FALSE(Document::FromJson(wide + "1]}").ok());
  // A thread goes on after a large document.
  EXPECT_EQ(FromJson(R"({"a":1})").ToJson(), R"({"a":1})");
}

TEST(DocumentTest, MergeReplacesAndAddsTopLevelFields) {
  const Document base = FromJson(R"({"b":1,"d":{"x":1},"f":"old"})");
  struct Case {
    const char* fields;
    const char* want;
  };
  const Case cases[] = {
      {"{}", R"({"b":1,"d":{"x":1},"f":"old"})"},
      {R"({"a":0,"c":[1],"g":null})", R"({"a":0,"b":1,"c":[1],"d":{"x":1},"f":"old","g":null})"},
      {R"({"d":{"y":2},"f":"new"})", R"({"b":1,"d":{"y":2},"f":"new"})"},
      {R"({"b":2,"d":3,"f":4})", R"({"b":2,"d":3,"f":4})"},
  };
  for (const Case& c : cases) {
    const absl::StatusOr<Document> merged = Document::Merge(base.bytes(), FromJson(c.fields));
    ASSERT_TRUE(merged.ok()) << merged.status();
    EXPECT_EQ(*merged, FromJson(c.want)) << merged->ToJson();
  }
  EXPECT_EQ(*Document::Merge(Document().bytes(), base), base);
  const Document half = FromJson("{\"h\":\"" + std::string(600'000, 'x') + "\"}");
  const Document other = FromJson("{\"i\":\"" + std::string(600'000, 'x') + "\"}");
  EXPECT_EQ(Document::Merge(half.bytes(), other).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(DocumentTest, FieldsAreTyped) {
  const Document document = FromJson(
      R"({"n":null,"t":true,"i":-5,"u":18446744073709551615,"d":2.0,"s":"text","o":{"p":{"q":7}},"a":[1]})");
  EXPECT_EQ(document.Field("n"), FieldValue(Null()));
  EXPECT_EQ(document.Field("t"), FieldValue(true));
  EXPECT_EQ(document.Field("i"), FieldValue(int64_t{-5}));
  EXPECT_EQ(document.Field("u"), FieldValue(std::numeric_limits<uint64_t>::max()));
  EXPECT_EQ(document.Field("d"), FieldValue(2.0));
  EXPECT_EQ(document.Field("s"), FieldValue(std::string_view("text")));
  EXPECT_EQ(document.Field("o"), FieldValue(Nested::kObject));
  EXPECT_EQ(document.Field("a"), FieldValue(Nested::kArray));
  EXPECT_EQ(document.Field("missing"), std::nullopt);
  EXPECT_EQ(document.Field(""), std::nullopt);
  const std::vector<std::string_view> path = {"o", "p", "q"};
  EXPECT_EQ(document.Field(path), FieldValue(int64_t{7}));
  const std::vector<std::string_view> through_scalar = {"i", "p"};
  EXPECT_EQ(document.Field(through_scalar), std::nullopt);
}

TEST(DocumentTest, UnalignedBytesAreRead) {
  const Document document = FromJson(R"({"a":[1.25,1e300,70000,-5000000000],"b":"text"})");
  for (size_t shift = 0; shift < 8; ++shift) {
    const std::string moved = std::string(shift, '#') + std::string(document.bytes());
    const DocumentView view(std::string_view(moved).substr(shift));
    EXPECT_EQ(view.ToJson(), document.ToJson());
    EXPECT_EQ(view.Field("b"), FieldValue(std::string_view("text")));
  }
}

TEST(DocumentTest, MembersWithoutOne) {
  const Document document = FromJson(R"({"_id":"x","a":1,"b":2})");
  std::string out;
  document.view().AppendJsonMembers("_id", &out);
  EXPECT_EQ(out, R"("a":1,"b":2)");
  out.clear();
  document.view().AppendJsonMembers("b", &out);
  EXPECT_EQ(out, R"("_id":"x","a":1)");
  out.clear();
  FromJson(R"({"_id":"x"})").view().AppendJsonMembers("_id", &out);
  EXPECT_EQ(out, "");
}

}  // namespace
}  // namespace millrace::storage
