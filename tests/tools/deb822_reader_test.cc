#include "millrace/tools/deb822_reader.h"

#include <string>

#include "gtest/gtest.h"
#include "tools/input_file.h"

namespace millrace {
namespace {

std::string Transcript(std::string_view content) {
  const InputFile file(content);
  Deb822Reader reader(file.descriptor(), IdRule::OfJoinedFields("Package:Architecture"));
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

TEST(Deb822ReaderTest, StanzasAreRecordsOfStrings) {
  EXPECT_EQ(Transcript(""), "");
  EXPECT_EQ(Transcript("\n\n"), "");
  EXPECT_EQ(Transcript("\nPackage: adduser\nArchitecture:all\nSize:  686 \nEmpty:\nUrl: http://x\n"
                       "\n \t\nPackage: libc6\r\nArchitecture: amd64\r\n"),
            R"(2 adduser:all {"Architecture":"all","Empty":"","Package":"adduser","Size":"686",)"
            R"("Url":"http://x"})"
            "\n"
            R"(9 libc6:amd64 {"Architecture":"amd64","Package":"libc6"})"
            "\n");
}

TEST(Deb822ReaderTest, ContinuationLinesAreJoined) {
  EXPECT_EQ(Transcript("# a comment\nPackage: a\nArchitecture: all\nDescription: short\n"
                       " first\n# between\n  indented\n .\n\tlast\nConffiles:\n /etc/x 123\n"),
            R"(2 a:all {"Architecture":"all","Conffiles":"\n/etc/x 123",)"
            R"("Description":"short\nfirst\n indented\n\nlast","Package":"a"})"
            "\n");
}

TEST(Deb822ReaderTest, BadStanzasAreToldAndPassedOver) {
  EXPECT_EQ(Transcript("Package: a\nArchitecture: all\nno colon here\nMore: x\n\n"
                       " continues nothing\nPackage: b\nArchitecture: all\n\n"
                       "Package: c\n\n"
                       "Package: d\nArchitecture: all\nPackage: e\n\n"
                       "Bad name: x\n\n"
                       "-Dash: x\n\n"
                       ": x\n\n"
                       "Package: \xff\nArchitecture: all\n\n"
                       "Package: last\nArchitecture: all"),
            "3 ! 'no colon here' is not 'Field: value'\n"
            "6 ! a continuation line without a field above it\n"
            "10 ! no field 'Architecture' for the id; name another with --id\n"
            "12 ! document: the name 'Package' stands twice\n"
            "16 ! 'Bad name' is not a field name\n"
            "18 ! '-Dash' is not a field name\n"
            "20 ! '' is not a field name\n"
            "22 ! document: the string '\\xff' is not valid UTF-8\n"
            "25 last:all {\"Architecture\":\"all\",\"Package\":\"last\"}\n");
}

TEST(Deb822ReaderTest, AFailedReadIsNoEnd) {
  Deb822Reader reader(-1, IdRule::OfField("Package"));
  EXPECT_FALSE(reader.Next().has_value());
  EXPECT_FALSE(reader.status().ok());
}

}  // namespace
}  // namespace millrace
