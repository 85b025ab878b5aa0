#include "millrace/tools/ndjson_reader.h"

#include <string>

#include "gtest/gtest.h"
#include "tools/input_file.h"

namespace millrace {
namespace {

std::string Transcript(std::string_view content) {
  const InputFile file(content);
  NdjsonReader reader(file.descriptor(), IdRule::OfField("id"));
  std::string out;
  while (const std::optional<SourceRecord> record = reader.Next()) {
    out += std::to_string(record->line) + " ";
    out += record->fault.ok() ? record->id + " " + record->document.ToJson()
                              : "! " + std::string(record->fault.message());
    out += "\n";
  }
  EXPECT_TRUE(reader.status().ok());
  return out;
}

TEST(NdjsonReaderTest, OneObjectALine) {
  EXPECT_EQ(Transcript(""), "");
  EXPECT_EQ(Transcript("{\"id\":1}\n\n \t\r\n{\"id\":\"b\",\"x\":[1]}\r\n{\"id\":3}"),
            "1 1 {\"id\":1}\n4 b {\"id\":\"b\",\"x\":[1]}\n5 3 {\"id\":3}\n");
}

TEST(NdjsonReaderTest, BadLinesAreToldAndPassedOver) {
  EXPECT_EQ(Transcript("{\"id\":1}\n{\"id\":2,}\n[3]\n{\"x\":1}\n{\"id\":\"\xff\"}\n"
                       "{\"id\":6} {\"id\":7}\n{\"id\":8}\n{\"id\":9,\"a\":1,\"a\":1}\n"),
            "1 1 {\"id\":1}\n"
            "2 ! JSON: expected a name in quotes, at byte 8\n"
            "3 ! JSON: the top level is not an object, at byte 0\n"
            "4 ! no field 'id' for the id; name another with --id\n"
            "5 ! JSON: invalid UTF-8, at byte 7\n"
            "6 ! JSON: text after the document, at byte 9\n"
            "7 8 {\"id\":8}\n"
            "8 ! JSON: the name 'a' stands twice, at $\n");
}

TEST(NdjsonReaderTest, LinesAndDocumentsHaveALimit) {
  const std::string text(storage::kDocumentBytesMax, 'x');
  const std::string spaces(kImportLineBytesMax, ' ');
  const std::string transcript =
      Transcript("{\"id\":1,\"a\":\"" + text + "\"}\n" + spaces + "{\"id\":2}\n{\"id\":3}\n");
  EXPECT_EQ(transcript,
            "1 ! the document is larger than 1048576 bytes (encoded); split it, or keep its large "
            "parts elsewhere\n2 ! the line is longer than 16777216 bytes\n3 3 {\"id\":3}\n");
}

TEST(NdjsonReaderTest, AFailedReadIsNoEnd) {
  NdjsonReader reader(-1, IdRule::OfField("id"));
  EXPECT_FALSE(reader.Next().has_value());
  EXPECT_FALSE(reader.status().ok());
}

}  // namespace
}  // namespace millrace
