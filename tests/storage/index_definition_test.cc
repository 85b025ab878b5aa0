#include "millrace/storage/index_definition.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

IndexDefinition ByEmail() {
  return {.id = 3,
          .number = 2,
          .collection = 300,
          .name = "by email",
          .field = "contact.email",
          .kind = IndexKind::kUnique,
          .scope = 4,
          .needs = 2,
          .complete_at = 1};
}

TEST(IndexDefinitionTest, RoundTripsThroughTheCatalog) {
  const IndexDefinition definition = ByEmail();
  const std::string key = IndexDefinitionKey(definition.collection, definition.name);
  const Document row = EncodeIndexDefinition(definition);
  const absl::StatusOr<IndexDefinition> read = ReadIndexDefinition(key, row.bytes());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, definition);
  EXPECT_TRUE(key.starts_with(IndexDefinitionPrefix(300)));
  EXPECT_FALSE(key.starts_with(IndexDefinitionPrefix(30)));
  EXPECT_TRUE(key.starts_with(AllIndexDefinitionsPrefix()));
}

TEST(IndexDefinitionTest, ANewerFormatIsRefusedByNameAndKeepsItsId) {
  const Document row = *Document::FromJson(R"({"format": 2, "id": 9, "shape": "spiral"})");
  const absl::Status status =
      ReadIndexDefinition(IndexDefinitionKey(1, "by age"), row.bytes()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("by age"), absl::string_view::npos);
  EXPECT_NE(status.message().find("newer version"), absl::string_view::npos);
  EXPECT_EQ(PeekIndexId(row.bytes()), 9u);
}

TEST(IndexDefinitionTest, DamagedRowsAreDataLoss) {
  const std::string key = IndexDefinitionKey(1, "x");
  for (const char* json :
       {R"({})", R"({"format": 1})", R"({"format": 1, "id": 1, "number": 1, "field": "f"})",
        R"({"format": 1, "id": 1, "number": 1, "field": "f", "kind": 7})",
        R"({"format": 1, "id": 0, "number": 1, "field": "f", "kind": 1})"}) {
    const Document row = *Document::FromJson(json);
    EXPECT_EQ(ReadIndexDefinition(key, row.bytes()).status().code(), absl::StatusCode::kDataLoss)
        << json;
  }
  EXPECT_EQ(ReadIndexDefinitionKey("nonsense").status().code(), absl::StatusCode::kDataLoss);
}

TEST(IndexDefinitionTest, NamesComeFromFieldAndScope) {
  EXPECT_EQ(IndexOptions{.field = "a.b"}.EffectiveName(), "a.b");
  EXPECT_EQ((IndexOptions{.field = "a", .scope = "staff"}.EffectiveName()), "a@staff");
  EXPECT_EQ((IndexOptions{.field = "a", .scope = "staff", .name = "n"}.EffectiveName()), "n");
}

TEST(IndexDefinitionTest, ImpossibleOptionsAreNamed) {
  struct Case {
    IndexOptions options;
    const char* want;
  };
  std::string deep = "a";
  for (size_t i = 0; i < kIndexPathDepthMax; ++i) deep += ".a";
  for (const Case& c : std::vector<Case>{{{.field = ""}, "field"},
                                         {{.field = std::string(256, 'a')}, "field"},
                                         {{.field = "\xff"}, "UTF-8"},
                                         {{.field = ".a"}, "single dots"},
                                         {{.field = "a..b"}, "single dots"},
                                         {{.field = "a."}, "single dots"},
                                         {{.field = std::string("a\0b", 3)}, "single dots"},
                                         {{.field = deep}, "17 levels"},
                                         {{.field = "a", .name = std::string(256, 'n')}, "name"}}) {
    const absl::Status status = CheckIndexOptions(c.options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(c.want), absl::string_view::npos) << status;
  }
  EXPECT_TRUE(CheckIndexOptions({.field = "Installed-Size"}).ok());
}

TEST(IndexDefinitionTest, FieldsAreFoundAlongThePath) {
  const Document document =
      *Document::FromJson(R"({"a": {"b": {"c": "deep"}, "n": null}, "top": 5, "list": [1]})");
  IndexKey key;
  IndexKey want;
  EXPECT_TRUE(IndexField("a.b.c").Extract(document.bytes(), &key));
  SetIndexKey(IndexValue(std::string("deep")), &want);
  EXPECT_EQ(key.full, want.full);
  EXPECT_TRUE(IndexField("top").Extract(document.bytes(), &key));
  SetIndexKey(IndexValue(int64_t{5}), &want);
  EXPECT_EQ(key.full, want.full);
  for (const char* field : {"a.n", "a.b", "list", "absent", "top.deeper", "a.b.c.d"}) {
    EXPECT_FALSE(IndexField(field).Extract(document.bytes(), &key)) << field;
  }
}

}  // namespace
}  // namespace millrace::storage
