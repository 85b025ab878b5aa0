#include "millrace/storage/write_batch.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

const Collection kPackages{.id = 1, .name = "packages"};

Document Json(std::string_view json) {
  return *Document::FromJson(json);
}

// One line an operation: kind, precondition, id, document.
std::vector<std::string> Transcript(const WriteBatch& batch) {
  std::vector<std::string> lines;
  std::string_view rest = batch.encoded();
  Operation operation;
  while (ConsumeOperation(&rest, &operation)) {
    static constexpr const char* kKinds[] = {"", "put", "delete", "merge", "require"};
    std::string line = kKinds[static_cast<int>(operation.kind)];
    if (operation.precondition.kind == Precondition::Kind::kAbsent) line += " if-absent";
    if (operation.precondition.kind == Precondition::Kind::kVersion) {
      absl::StrAppend(&line, " if-version=", operation.precondition.version);
    }
    absl::StrAppend(&line, " ", ToAbsl(DecodeRowKey(operation.key)->id));
    if (!operation.value.empty()) {
      absl::StrAppend(&line, " ", DocumentView(operation.value).ToJson());
    }
    lines.push_back(line);
  }
  EXPECT_TRUE(rest.empty());
  return lines;
}

TEST(WriteBatchTest, OperationsReadBackAsTheyWereAdded) {
  WriteBatch batch;
  batch.Put(kPackages, "a", Json(R"({"v":1})"), Precondition::Absent())
      .Merge(kPackages, "b", Json(R"({"w":2})"), Precondition::AtVersion(7))
      .Delete(kPackages, "c")
      .Require(kPackages, "d", Precondition::AtVersion(9));
  ASSERT_TRUE(batch.status().ok()) << batch.status();
  EXPECT_EQ(Transcript(batch), (std::vector<std::string>{R"(put if-absent a {"v":1})",
                                                         R"(merge if-version=7 b {"w":2})",
                                                         "delete c", "require if-version=9 d"}));
  EXPECT_EQ(batch.operation_count(), 4u);
  EXPECT_FALSE(batch.blind());
}

TEST(WriteBatchTest, OfOneRecordTheLastOperationWins) {
  WriteBatch batch;
  batch.Put(kPackages, "a", Json(R"({"v":1})"))
      .Put(kPackages, "b", Json(R"({"v":2})"))
      .Delete(kPackages, "a")
      .Put(kPackages, "a", Json(R"({"v":3})"));
  EXPECT_TRUE(batch.blind());
  batch.Normalize();
  EXPECT_EQ(Transcript(batch), (std::vector<std::string>{R"(put b {"v":2})", R"(put a {"v":3})"}));
  EXPECT_EQ(batch.operation_count(), 2u);
}

TEST(WriteBatchTest, ThePreconditionOfAnOverwrittenOperationStays) {
  WriteBatch batch;
  batch.Put(kPackages, "a", Json(R"({"v":1})"), Precondition::Absent())
      .Put(kPackages, "a", Json(R"({"v":2})"));
  batch.Normalize();
  EXPECT_EQ(Transcript(batch),
            (std::vector<std::string>{"require if-absent a", R"(put a {"v":2})"}));
  EXPECT_FALSE(batch.blind());
}

TEST(WriteBatchTest, OnlyBlindBatchesAreBlind) {
  EXPECT_TRUE(WriteBatch().Put(kPackages, "a", Document()).Delete(kPackages, "b").blind());
  EXPECT_FALSE(WriteBatch().Merge(kPackages, "a", Document()).blind());
  EXPECT_FALSE(WriteBatch().Put(kPackages, "a", Document(), Precondition::Absent()).blind());
  EXPECT_FALSE(WriteBatch().Require(kPackages, "a", Precondition::Absent()).blind());
}

TEST(WriteBatchTest, OnlyWhatMayGrowTheStoreAddsRows) {
  EXPECT_TRUE(WriteBatch().Put(kPackages, "a", Document()).adds_rows());
  EXPECT_TRUE(WriteBatch().Merge(kPackages, "a", Document()).adds_rows());
  EXPECT_FALSE(WriteBatch().Delete(kPackages, "a").adds_rows());
  EXPECT_FALSE(WriteBatch().Require(kPackages, "a", Precondition::Absent()).adds_rows());
}

TEST(WriteBatchTest, MisuseIsRememberedAndNamed) {
  struct Case {
    const char* name;
    Collection collection;
    std::string id;
  };
  for (const Case& c :
       {Case{"an empty id", kPackages, ""}, Case{"a long id", kPackages, std::string(256, 'x')},
        Case{"an id that is not UTF-8", kPackages, "\xff"},
        Case{"an unopened collection", Collection{}, "a"}}) {
    WriteBatch batch;
    batch.Put(c.collection, c.id, Document()).Put(kPackages, "fine", Document());
    EXPECT_EQ(batch.status().code(), absl::StatusCode::kInvalidArgument) << c.name;
    EXPECT_TRUE(batch.empty()) << c.name;
  }
}

TEST(WriteBatchTest, TooManyOperationsAreRefused) {
  WriteBatch batch;
  for (size_t i = 0; i < WriteBatch::kOperationCountMax; ++i) {
    batch.Delete(kPackages, absl::StrCat(i));
  }
  EXPECT_TRUE(batch.status().ok());
  batch.Delete(kPackages, "one more");
  EXPECT_EQ(batch.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(WriteBatchTest, TooManyBytesAreRefused) {
  const Document large = *DocumentBuilder().Set("v", std::string(900'000, 'x')).Finish();
  WriteBatch batch;
  int accepted = 0;
  while (batch.Put(kPackages, absl::StrCat(accepted), large).status().ok()) ++accepted;
  EXPECT_EQ(accepted, 18);
  EXPECT_LE(batch.bytes(), WriteBatch::kBytesMax);
}

TEST(WriteBatchTest, DamagedEncodingsAreRefused) {
  WriteBatch batch;
  batch.Put(kPackages, "a", Json(R"({"v":1})"), Precondition::AtVersion(3));
  const std::string encoded(batch.encoded());
  for (size_t size = 1; size < encoded.size(); ++size) {
    std::string_view rest(encoded.data(), size);
    Operation operation;
    EXPECT_FALSE(ConsumeOperation(&rest, &operation)) << "cut to " << size;
  }
}

}  // namespace
}  // namespace millrace::storage
