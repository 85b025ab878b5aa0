#include "millrace/tools/line_reader.h"

#include <string>

#include "gtest/gtest.h"
#include "tools/input_file.h"

namespace millrace {
namespace {

// What the reader tells, one line each.
std::string Transcript(std::string_view content, size_t line_bytes_max) {
  const InputFile file(content);
  LineReader reader(file.descriptor(), line_bytes_max);
  std::string out;
  for (;;) {
    std::string_view line;
    const LineReader::Result result = reader.Next(&line);
    if (result == LineReader::Result::kEnd) break;
    out += std::to_string(reader.line_number()) +
           (result == LineReader::Result::kTooLong ? " too long" : " " + std::string(line)) + "\n";
  }
  EXPECT_TRUE(reader.status().ok());
  EXPECT_EQ(reader.bytes_consumed(), content.size());
  return out;
}

TEST(LineReaderTest, LinesAreNumbered) {
  EXPECT_EQ(Transcript("", 10), "");
  EXPECT_EQ(Transcript("\n", 10), "1 \n");
  EXPECT_EQ(Transcript("a", 10), "1 a\n");
  EXPECT_EQ(Transcript("a\n\nbc\r\nd", 10), "1 a\n2 \n3 bc\r\n4 d\n");
}

TEST(LineReaderTest, LongLinesAreSkippedAndNumbered) {
  EXPECT_EQ(Transcript("12345\n123456\n1\n", 5), "1 12345\n2 too long\n3 1\n");
  EXPECT_EQ(Transcript("123456", 5), "1 too long\n");
  const std::string huge(5'000'000, 'x');
  EXPECT_EQ(Transcript("a\n" + huge + "\nb\n" + huge, 100), "1 a\n2 too long\n3 b\n4 too long\n");
  EXPECT_EQ(Transcript("a\n" + huge + "\nb", huge.size()), "1 a\n2 " + huge + "\n3 b\n");
}

TEST(LineReaderTest, AFailedReadIsToldOnce) {
  LineReader reader(-1, 10);
  std::string_view line;
  EXPECT_EQ(reader.Next(&line), LineReader::Result::kEnd);
  EXPECT_FALSE(reader.status().ok());
  EXPECT_EQ(reader.Next(&line), LineReader::Result::kEnd);
}

}  // namespace
}  // namespace millrace
