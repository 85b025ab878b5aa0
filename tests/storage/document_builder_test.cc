#include <limits>
#include <string>

#include "gtest/gtest.h"

#include "millrace/storage/document.h"

namespace millrace::storage {
namespace {

TEST(DocumentBuilderTest, BuildsWhatJsonWouldBuild) {
  DocumentBuilder builder;
  builder.Set("name", "libc6").Set("size", 12).Set("big", uint64_t{18446744073709551615u});
  builder.Set("small", uint64_t{3}).Set("half", 0.5f).Set("none", nullptr).Set("yes", true);
  builder.Set("text", std::string("a\0b", 3)).Set("minus", std::numeric_limits<int64_t>::min());
  builder.BeginArray("tags").Add("a").Add(2.5).BeginObject().Set("k", 1).End();
  builder.BeginArray().End().End();
  builder.BeginObject("inner").Set("z", 1).Set("a", 2).End();
  const absl::StatusOr<Document> document = builder.Finish();
  ASSERT_TRUE(document.ok()) << document.status();
  const absl::StatusOr<Document> want = Document::FromJson(
      R"({"name":"libc6","size":12,"big":18446744073709551615,"small":3,"half":0.5,"none":null,
          "yes":true,"text":"a\u0000b","minus":-9223372036854775808,
          "tags":["a",2.5,{"k":1},[]],"inner":{"a":2,"z":1}})");
  ASSERT_TRUE(want.ok()) << want.status();
  EXPECT_EQ(*document, *want) << document->ToJson();
}

TEST(DocumentBuilderTest, CanBeUsedAgain) {
  DocumentBuilder builder;
  EXPECT_EQ(builder.Finish()->ToJson(), "{}");
  EXPECT_EQ(builder.Set("a", 1).Finish()->ToJson(), R"({"a":1})");
  EXPECT_FALSE(builder.Set("a", 1).Set("a", 2).Finish().ok());
  EXPECT_EQ(builder.Set("b", 2).Finish()->ToJson(), R"({"b":2})");
  DocumentBuilder moved = std::move(builder);
  EXPECT_EQ(moved.Set("c", 3).Finish()->ToJson(), R"({"c":3})");
}

// Names and strings need no NUL behind them.
TEST(DocumentBuilderTest, ReadsNothingBehindViews) {
  const std::string name(100, 'n');
  const std::string text(1000, 't');
  DocumentBuilder builder;
  for (size_t size = 1; size < 100; ++size) {
    const std::string tight_name(name, 0, size);
    const std::string tight_text(text, 0, 9 * size);
    builder.Set(tight_name, std::string_view(tight_text.data(), tight_text.size()));
    builder.Set(std::string_view(name).substr(0, size).substr(size / 2).data() + std::string("x") +
                    std::to_string(size),
                std::string_view(text).substr(0, size));
  }
  const absl::StatusOr<Document> document = builder.Finish();
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_EQ(document->Field("nnn"), FieldValue(std::string_view(text).substr(0, 27)));
}

TEST(DocumentBuilderTest, FaultsAreNamed) {
  DocumentBuilder builder;
  const auto expect = [&builder](const char* want) {
    const absl::Status status = builder.Finish().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(want), std::string::npos) << want << "\n" << status;
  };
  builder.Set("b", 1).Set("a", 2).Set("b", 3);
  expect("'b' stands twice");
  builder.BeginArray("l").BeginObject().Set("x", 1).Set("x", 1).End().End();
  expect("'x' stands twice");
  builder.Set(std::string_view("a\0b", 3), 1);
  expect("NUL");
  builder.Set("\xff", 1);
  expect("'\\xff' is not valid UTF-8");
  builder.Set("a", "\xc3");
  expect("not valid UTF-8");
  builder.Set("a", std::numeric_limits<double>::infinity());
  expect("not finite");
  builder.Set("a", std::numeric_limits<double>::quiet_NaN());
  expect("not finite");
  builder.Add(1);
  expect("without a name");
  builder.BeginArray("a").Set("b", 1);
  expect("a name in an array");
  builder.BeginArray("a");
  expect("without its End");
  builder.End();
  expect("without a Begin");
  builder.Set("a", std::string(kDocumentBytesMax + 1, 'x'));
  expect("at most 1048576");
  for (int i = 0; i < 20; ++i) builder.Set(std::to_string(i), std::string(100'000, 'x'));
  expect("larger than 1048576");
  builder.BeginArray("a");
  for (int i = 0; i < 255; ++i) builder.BeginArray();
  for (int i = 0; i < 256; ++i) builder.End();
  expect("nested more than 256");
  builder.BeginArray("a");
  for (int i = 0; i < 254; ++i) builder.BeginArray();
  for (int i = 0; i < 255; ++i) builder.End();
  EXPECT_TRUE(builder.Finish().ok());
}

}  // namespace
}  // namespace millrace::storage
