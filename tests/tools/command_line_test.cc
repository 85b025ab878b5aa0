#include "millrace/tools/command_line.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace millrace {
namespace {

const VerbSpec kVerb = {.name = "scan",
                        .operands = {"STORE", "COLLECTION"},
                        .summary = "prints documents",
                        .details = "In the order of their ids.",
                        .options = {{"prefix", "TEXT", "only such ids"},
                                    {"limit", "N", "at most so many"},
                                    {"json", "", "as JSON"}}};

absl::StatusOr<Arguments> Parse(const std::vector<std::string_view>& words) {
  return ParseArguments(kVerb, words);
}

TEST(CommandLineTest, OperandsThatMayFollow) {
  const VerbSpec verb = {.name = "audit", .operands = {"STORE"}, .more_operands = {"A", "B"}};
  EXPECT_EQ(UsageLine(verb), "millrace audit STORE [A [B]]");
  EXPECT_FALSE(ParseArguments(verb, std::vector<std::string_view>{}).ok());
  for (const std::vector<std::string_view>& words :
       {std::vector<std::string_view>{"s"}, std::vector<std::string_view>{"s", "a"},
        std::vector<std::string_view>{"s", "a", "b"}}) {
    EXPECT_EQ(ParseArguments(verb, words)->operands, words);
  }
  EXPECT_EQ(
      ParseArguments(verb, std::vector<std::string_view>{"s", "a", "b", "c"}).status().message(),
      "audit: 'c' is one argument too many");
}

TEST(CommandLineTest, OptionsTakeTheirValueBothWaysAndAnywhere) {
  const std::vector<std::vector<std::string_view>> same = {
      {"--prefix=a", "--limit=5", "s", "c"},
      {"--prefix", "a", "s", "--limit", "5", "c"},
      {"s", "c", "--limit=5", "--prefix", "a"},
  };
  for (const auto& words : same) {
    const absl::StatusOr<Arguments> arguments = Parse(words);
    ASSERT_TRUE(arguments.ok()) << arguments.status();
    EXPECT_EQ(arguments->operands, (std::vector<std::string_view>{"s", "c"}));
    EXPECT_EQ(arguments->Value("prefix"), "a");
    EXPECT_EQ(arguments->Number("limit").value(), 5u);
    EXPECT_FALSE(arguments->Has("json"));
    EXPECT_EQ(arguments->Number("missing").value(), std::nullopt);
  }
  EXPECT_EQ(Parse({"s", "c", "--prefix="})->Value("prefix"), "");
  EXPECT_EQ(Parse({"s", "c", "--prefix=a=b"})->Value("prefix"), "a=b");
  EXPECT_EQ(Parse({"s", "c", "--prefix", "--limit"})->Value("prefix"), "--limit");
  EXPECT_TRUE(Parse({"--json", "s", "c"})->Has("json"));
}

TEST(CommandLineTest, OperandsMayBeginWithADash) {
  const std::vector<std::string_view> want = {"-5", "-"};
  EXPECT_EQ(Parse({"-5", "-"})->operands, want);
  EXPECT_EQ(Parse({"--", "--json", "--"})->operands,
            (std::vector<std::string_view>{"--json", "--"}));
}

TEST(CommandLineTest, FaultsNameTheWord) {
  struct Case {
    std::vector<std::string_view> words;
    const char* want;
  };
  const Case cases[] = {
      {{}, "scan: STORE is missing"},
      {{"s"}, "scan: COLLECTION is missing"},
      {{"s", "c", "x"}, "'x' is one argument too many"},
      {{"s", "c", "--wrong"}, "unknown option --wrong"},
      {{"s", "c", "--wrong=1"}, "unknown option --wrong of scan"},
      {{"s", "c", "--limit"}, "option --limit=N needs a value"},
      {{"s", "c", "--json=1"}, "option --json takes no value"},
      {{"s", "c", "--limit=1", "--limit=2"}, "option --limit is given twice"},
  };
  for (const Case& c : cases) {
    const absl::Status status = Parse(c.words).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(c.want), std::string::npos) << c.want << "\n" << status;
  }
  for (const std::string_view number : {"", "x", "-1", "1x", "1.5", "18446744073709551616", " 1"}) {
    const absl::StatusOr<Arguments> arguments = Parse({"s", "c", "--limit", number});
    ASSERT_TRUE(arguments.ok());
    EXPECT_FALSE(arguments->Number("limit").ok()) << number;
  }
}

TEST(CommandLineTest, HelpNeedsNothingElse) {
  EXPECT_TRUE(Parse({"--help"})->help);
  EXPECT_TRUE(Parse({"s", "--wrong", "--help"})->help);
  EXPECT_FALSE(Parse({"s", "--", "--help"})->help);
  EXPECT_EQ(UsageLine(kVerb),
            "millrace scan STORE COLLECTION [--prefix=TEXT] [--limit=N] [--json]");
  EXPECT_EQ(HelpText(kVerb),
            "usage: millrace scan STORE COLLECTION [--prefix=TEXT] [--limit=N] [--json]\n"
            "\nprints documents\n\nIn the order of their ids.\n"
            "\noptions (--x=y or --x y):\n"
            "  --prefix=TEXT           only such ids\n"
            "  --limit=N               at most so many\n"
            "  --json                  as JSON\n"
            "  --help                  print this and exit\n");
}

}  // namespace
}  // namespace millrace
