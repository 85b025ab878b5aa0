#include "millrace/tools/record_id.h"

#include <string>

#include "gtest/gtest.h"

namespace millrace {
namespace {

std::string IdOrFault(const IdRule& rule, std::string_view json) {
  const absl::StatusOr<storage::Document> document = storage::Document::FromJson(json);
  EXPECT_TRUE(document.ok()) << document.status();
  const absl::StatusOr<std::string> id = rule.IdOf(*document);
  return id.ok() ? *id : "! " + std::string(id.status().message());
}

TEST(RecordIdTest, StringsAndIntegersAreIds) {
  const IdRule rule = IdRule::OfField("id");
  EXPECT_EQ(IdOrFault(rule, R"({"id":"a b"})"), "a b");
  EXPECT_EQ(IdOrFault(rule, R"({"id":-7})"), "-7");
  EXPECT_EQ(IdOrFault(rule, R"({"id":18446744073709551615})"), "18446744073709551615");
  EXPECT_EQ(IdOrFault(IdRule::OfField("a:b"), R"({"a:b":1})"), "1");
}

TEST(RecordIdTest, OtherValuesAreNot) {
  const IdRule rule = IdRule::OfField("id");
  for (const char* json : {R"({"id":1.0})", R"({"id":null})", R"({"id":true})", R"({"id":[1]})"}) {
    EXPECT_EQ(IdOrFault(rule, json),
              "! field 'id' is neither a string nor an integer, so it is no id");
  }
  EXPECT_EQ(IdOrFault(rule, "{}"), "! no field 'id' for the id; name another with --id");
  EXPECT_NE(IdOrFault(rule, R"({"id":""})").find("the id is empty"), std::string::npos);
  const std::string long_id(256, 'x');
  EXPECT_NE(IdOrFault(rule, R"({"id":")" + long_id + R"("})").find("has 256 bytes"),
            std::string::npos);
}

TEST(RecordIdTest, FieldsAreJoinedByColons) {
  const IdRule rule = IdRule::OfJoinedFields("Package:Architecture");
  EXPECT_EQ(IdOrFault(rule, R"({"Package":"libc6","Architecture":"amd64"})"), "libc6:amd64");
  EXPECT_NE(IdOrFault(rule, R"({"Package":"libc6"})").find("no field 'Architecture'"),
            std::string::npos);
  EXPECT_EQ(IdOrFault(IdRule::OfJoinedFields("Package"), R"({"Package":"libc6"})"), "libc6");
}

TEST(RecordIdTest, AnIdOfTheDocumentsOwnMustBeEqual) {
  const IdRule rule = IdRule::OfField("id");
  EXPECT_EQ(IdOrFault(rule, R"({"id":"5","_id":"5"})"), "5");
  EXPECT_EQ(IdOrFault(rule, R"({"id":5,"_id":5})"), "5");
  for (const char* json : {R"({"id":"5","_id":"6"})", R"({"id":"5","_id":null})"}) {
    EXPECT_NE(IdOrFault(rule, json).find("an _id of its own that differs from its id '5'"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace millrace
