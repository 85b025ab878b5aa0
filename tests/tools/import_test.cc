// `millrace import` as a user meets it.

#include <sys/stat.h>

#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/temporary_directory.h"
#include "tools/command_process.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

class ImportTest : public ::testing::Test {
 protected:
  CommandResult Import(std::string_view input, std::vector<std::string> options = {},
                       const std::string& file = "-") {
    std::vector<std::string> words = {"import", store_, "c", file};
    words.insert(words.end(), options.begin(), options.end());
    return RunMillrace(words, input);
  }

  std::string Scan() { return RunMillrace({"scan", store_, "c"}).out; }
  std::string Count() { return RunMillrace({"count", store_, "c"}).out; }

  std::string WriteFile(const std::string& name, std::string_view content) {
    std::ofstream(directory_.File(name), std::ios::binary) << content;
    return directory_.File(name);
  }

  ::millrace::testing::TemporaryDirectory directory_;
  const std::string store_ = directory_.File("store");
};

TEST_F(ImportTest, NdjsonFromAFileAndFromAPipe) {
  const std::string lines = "{\"id\":\"b\",\"x\":1}\n\n{\"x\":2,\"id\":10}\n{\"id\":\"a\"}";
  const CommandResult file = Import("", {}, WriteFile("in", lines));
  EXPECT_EQ(file.exit_code, 0) << file.err;
  EXPECT_EQ(file.out, "");
  EXPECT_THAT(file.err,
              ::testing::MatchesRegex("imported 3 records in [0-9.]+ s \\([0-9,]+/s\\)\n"));
  const std::string want =
      "{\"_id\":\"10\",\"id\":10,\"x\":2}\n{\"_id\":\"a\",\"id\":\"a\"}\n"
      "{\"_id\":\"b\",\"id\":\"b\",\"x\":1}\n";
  EXPECT_EQ(Scan(), want);
  // Again, over what is there.
  EXPECT_EQ(Import(lines).exit_code, 0);
  EXPECT_EQ(Scan(), want);
  EXPECT_EQ(Count(), "3\n");
}

TEST_F(ImportTest, AnotherFieldMayHoldTheId) {
  EXPECT_EQ(Import("{\"key\":\"k\",\"id\":null}\n", {"--id", "key"}).exit_code, 0);
  EXPECT_EQ(Scan(), "{\"_id\":\"k\",\"id\":null,\"key\":\"k\"}\n");
}

TEST_F(ImportTest, VerboseTellsWhatIsDurableAndHowTheStoreStopped) {
  const CommandResult result = Import("{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n", {"--verbose"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, ::testing::StartsWith("acknowledged 3\nstopped in "));
  EXPECT_THAT(result.out, HasSubstr("\ncommitter: accepted "));
  EXPECT_THAT(result.out, ::testing::Not(HasSubstr("UNBALANCED")));
}

TEST_F(ImportTest, ScannedLinesCanBeImportedAgain) {
  EXPECT_EQ(Import("{\"_id\":\"x\",\"a\":1}\n", {"--id=_id"}).exit_code, 0);
  EXPECT_EQ(Scan(), "{\"_id\":\"x\",\"a\":1}\n");
}

TEST_F(ImportTest, Deb822Stanzas) {
  const CommandResult result = Import(
      "Package: libc6\nArchitecture: amd64\nDescription: the library\n more\n .\n end\n\n"
      "Package: adduser\nArchitecture: all\n",
      {"--format=deb822"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(Scan(),
            "{\"_id\":\"adduser:all\",\"Architecture\":\"all\",\"Package\":\"adduser\"}\n"
            "{\"_id\":\"libc6:amd64\",\"Architecture\":\"amd64\",\"Description\":\"the "
            "library\\nmore\\n\\nend\",\"Package\":\"libc6\"}\n");
  EXPECT_EQ(Import("Package: zlib\n", {"--format", "deb822", "--id=Package"}).exit_code, 0);
  EXPECT_EQ(RunMillrace({"get", store_, "c", "zlib"}).out, "{\"Package\":\"zlib\"}\n");
}

TEST_F(ImportTest, ABadLineStopsAndIsNamed) {
  const CommandResult result = Import("{\"id\":1}\n{\"id\":2\n{\"id\":3}\n");
  EXPECT_EQ(result.exit_code, 65);
  EXPECT_THAT(result.err, HasSubstr("line 2: JSON: expected ',' or '}', at byte 7"));
  EXPECT_EQ(Count(), "1\n");
}

TEST_F(ImportTest, BadLinesAreSkippedWhereAskedFor) {
  const CommandResult result =
      Import("{\"id\":1}\nnonsense\n{\"id\":true}\n{\"id\":4}\n{\"_id\":\"x\",\"id\":5}\n",
             {"--on-error=skip"});
  EXPECT_EQ(result.exit_code, 65);
  EXPECT_THAT(result.err, HasSubstr("line 2: JSON: the top level is not an object"));
  EXPECT_THAT(result.err, HasSubstr("line 3: field 'id' is neither"));
  EXPECT_THAT(result.err, HasSubstr("line 5: the document has an _id of its own"));
  EXPECT_THAT(result.err, HasSubstr("imported 2 records"));
  EXPECT_THAT(result.err, HasSubstr("skipped 3\n"));
  EXPECT_EQ(Count(), "2\n");
}

TEST_F(ImportTest, AnInputThatCannotBeReadCreatesNoStore) {
  const CommandResult missing = Import("", {}, directory_.File("missing"));
  EXPECT_EQ(missing.exit_code, 70);
  EXPECT_THAT(missing.err, HasSubstr("missing"));
  EXPECT_EQ(Import("", {}, directory_.path()).exit_code, 70);
  struct stat info;
  EXPECT_NE(::stat(store_.c_str(), &info), 0);
}

TEST_F(ImportTest, AnEmptyInputCreatesAnEmptyCollection) {
  EXPECT_EQ(Import("").exit_code, 0);
  EXPECT_EQ(Count(), "0\n");
  EXPECT_EQ(Scan(), "");
}

TEST_F(ImportTest, ManyRecordsArriveWholeAndOnce) {
  std::string lines;
  for (int i = 0; i < 50'000; ++i) {
    const std::string n = std::to_string(i % 40'000);
    lines += "{\"id\":" + n + ",\"round\":" + std::to_string(i / 40'000) + "}\n";
  }
  const CommandResult result = Import("", {}, WriteFile("in", lines));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("imported 50,000 records"));
  EXPECT_EQ(Count(), "40000\n");
  // The later line of two with the same id has won.
  EXPECT_EQ(RunMillrace({"get", store_, "c", "9999"}).out, "{\"id\":9999,\"round\":1}\n");
  EXPECT_EQ(RunMillrace({"get", store_, "c", "10000"}).out, "{\"id\":10000,\"round\":0}\n");
}

// What an import has reported as imported survives a kill; what is there is whole.
TEST_F(ImportTest, AKilledImportLeavesAStoreThatOpens) {
  CommandProcess process({"import", store_, "c", "-", "--on-error=skip"});
  std::string lines;
  for (int i = 0; i < 20'000; ++i) lines += "{\"id\":" + std::to_string(i) + ",\"a\":\"b\"}\n";
  process.Write(lines + "bad\n");
  ASSERT_TRUE(process.WaitForMessage("line 20001"));
  process.Kill();
  EXPECT_EQ(process.Wait().exit_code, -9);
  const CommandResult count = RunMillrace({"count", store_, "c"});
  ASSERT_EQ(count.exit_code, 0) << count.err;
  const int kept = std::stoi(count.out);
  EXPECT_LE(kept, 20'000);
  EXPECT_EQ(Import(lines).exit_code, 0);
  EXPECT_EQ(Count(), "20000\n");
}

}  // namespace
}  // namespace millrace
