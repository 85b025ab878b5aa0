#include "rules.h"

#include <ostream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "source_file.h"

namespace millrace::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// "rule:line" of each finding.
std::vector<std::string> Found(const std::vector<Finding>& findings) {
  std::vector<std::string> found;
  for (const Finding& finding : findings) {
    found.push_back(finding.rule + ":" + std::to_string(finding.line));
  }
  return found;
}

std::vector<std::string> Check(const std::string& path, const std::string& text) {
  return Found(CheckAll(MakeSourceFile(path, text)));
}

std::string Repeat(int count, const std::string& line) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += line;
  }
  return text;
}

struct Case {
  std::string name;
  std::string path;
  std::string text;
  std::string want;  // "rule:line", or nothing where the text is fine.
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.path;
}

class RulesTest : public ::testing::TestWithParam<Case> {};

TEST_P(RulesTest, FindsExactlyWhatIsWrong) {
  const Case& c = GetParam();
  if (c.want.empty()) {
    EXPECT_THAT(Check(c.path, c.text), IsEmpty());
  } else {
    EXPECT_THAT(Check(c.path, c.text), ElementsAre(c.want));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Lines, RulesTest,
    ::testing::ValuesIn(std::vector<Case>{
        {"SleepFor", "tests/x_test.cc", "\nvoid F() { std::this_thread::sleep_for(s); }\n",
         "sleep:2"},
        {"AbslSleep", "tests/x_test.cc", "void F() { absl::SleepFor(d); }\n", "sleep:1"},
        {"UnixSleep", "bench/x.cc", "void F() { usleep(10); }\n", "sleep:1"},
        {"SleepInComment", "bench/x.cc", "// Never sleep(1).\n", ""},
        {"SleepInLiteral", "bench/x.cc", "const char* x = \"sleep(1)\";\n", ""},
        {"SleepInRawLiteral", "bench/x.cc", "const char* x = R\"(\nsleep(1) \" )\";\n", ""},
        {"SleepAfterQuoteInComment", "bench/x.cc", "// don't\nvoid F() { sleep(1); }\n", "sleep:2"},
        {"SleepAfterDigitSeparator", "bench/x.cc", "int a = 1'0; int b = sleep(1);\n", "sleep:1"},
        {"SharedPtr", "bench/x.cc", "std::shared_ptr<int> p;\n", "shared_ptr:1"},
        {"MakeShared", "bench/x.cc", "auto p = std::make_shared<int>(1);\n", "shared_ptr:1"},
        {"StdFunction", "bench/x.cc", "std::function<void()> f;\n", "std_function:1"},
        {"StdMutex", "bench/x.cc", "std::mutex m;\n", "mutex:1"},
        {"StdSharedMutex", "bench/x.cc", "std::shared_mutex m;\n", "mutex:1"},
        {"Detach", "bench/x.cc", "void F() { t.detach(); }\n", "detach:1"},
        {"UsingNamespaceInHeader", "tests/x.h", "#pragma once\nusing namespace std;\n",
         "using_namespace:2"},
        {"UsingNamespaceInSource", "tests/x.cc", "using namespace std::literals;\n", ""},
        {"Fixme", "bench/x.cc", "// FIXME: later\n", "fixme:1"},
        {"BareTodo", "bench/x.cc", "// TODO: later\n", "fixme:1"},
        {"TodoOfAnIssue", "bench/x.cc", "// TODO(12): later\n", ""},
        {"InitLogging", "storage/x.cc", "void F() { google::InitGoogleLogging(n); }\n",
         "init_logging:1"},
    }),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Includes, RulesTest,
    ::testing::ValuesIn(std::vector<Case>{
        {"LmdbInActors", "actors/writer.cc",
         "#include \"millrace/actors/writer.h\"\n#include <lmdb.h>\n", "lmdb_door:2"},
        {"LmdbInStorageHeader", "storage/x.h", "#pragma once\n#include <lmdb.h>\n", "lmdb_door:2"},
        {"LmdbInStorageSource", "storage/x.cc",
         "#include \"millrace/storage/x.h\"\n#include <lmdb.h>\n", ""},
        {"QueueInReply", "runtime/reply.h", "#pragma once\n#include <concurrentqueue.h>\n",
         "queue_door:2"},
        {"QueueInMailbox", "runtime/mailbox.h",
         "#pragma once\n#include <concurrentqueue/concurrentqueue.h>\n", ""},
        {"BlockingQueue", "tests/x.cc", "#include <blockingconcurrentqueue.h>\n", "queue_door:1"},
        {"GlogInHeader", "actors/x.h", "#pragma once\n#include <glog/logging.h>\n", "glog_door:2"},
        {"GlogInSource", "actors/x.cc",
         "#include \"millrace/actors/x.h\"\n#include <glog/logging.h>\n", ""},
        {"GtestInStorage", "storage/x.cc",
         "#include \"millrace/storage/x.h\"\n#include \"gtest/gtest.h\"\n", "gtest_door:2"},
        {"DotDot", "tests/x.cc", "#include \"../storage/x.h\"\n", "dotdot:1"},
        {"StorageValueInMessages", "messages/x.h",
         "#pragma once\n#include \"millrace/storage/document.h\"\n", ""},
        {"StorageEngineInMessages", "messages/x.h",
         "#pragma once\n#include \"millrace/storage/environment.h\"\n", "message_values:2"},
        {"OwnHeaderNotFirst", "storage/x.cc",
         "#include <string>\n#include \"millrace/storage/x.h\"\n", "own_header:2"},
    }),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Files, RulesTest,
    ::testing::ValuesIn(std::vector<Case>{
        {"LongHeader", "tests/x.h", "#pragma once\n" + Repeat(150, "//\n"), "file_size:0"},
        {"FullHeader", "tests/x.h", "#pragma once\n" + Repeat(149, "//\n"), ""},
        {"LongSource", "tests/x.cc", Repeat(601, "//\n"), "file_size:0"},
        {"FullSource", "tests/x.cc", Repeat(600, "//\n"), ""},
        {"Utils", "tests/string_utils.cc", "", "name:0"},
        {"Context", "tests/context.cc", "", "name:0"},
        {"CommonFolder", "tests/common/x.cc", "", "name:0"},
        {"BasedOn", "tests/database.cc", "", ""},
        {"NoPragmaOnce", "tests/x.h", "#ifndef X\n", "pragma_once:1"},
        {"TransactionElsewhere", "tests/x.cc", "int r = mdb_txn_begin(e, 0, 0, &t);\n",
         "txn_begin:1"},
        {"TransactionAtItsPlace", "storage/read_pool.cc",
         "#include \"millrace/storage/read_pool.h\"\nint r = mdb_txn_begin(e, 0, 0, &t);\n", ""},
    }),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Functions, RulesTest,
    ::testing::ValuesIn(std::vector<Case>{
        {"SeventyLines", "tests/x.cc", "void F() {\n" + Repeat(68, "  G();\n") + "}\n", ""},
        {"SeventyOneLines", "tests/x.cc", "void F() {\n" + Repeat(69, "  G();\n") + "}\n",
         "function_size:1"},
        {"NestedBlocksCountOnce", "tests/x.cc",
         "void F() {\n  if (a) {\n" + Repeat(67, "  G();\n") + "  }\n}\n", "function_size:1"},
        {"InsideClassInNamespace", "tests/x.cc",
         "namespace a {\nclass B : public C<int(int)> {\n  void F() const {\n" +
             Repeat(70, "  G();\n") + "  }\n};\n}\n",
         "function_size:3"},
        {"AfterMemberInitializers", "tests/x.cc",
         "A::A(int b) : b_{b}, c_(b) {\n" + Repeat(70, "  G();\n") + "}\n", "function_size:1"},
        {"LongClass", "tests/x.cc", "class B {\n" + Repeat(80, "  int F();\n") + "};\n", ""},
        {"LongNamespace", "tests/x.cc", "namespace {\n" + Repeat(80, "int F();\n") + "}\n", ""},
        {"LongTable", "tests/x.cc", "const int kTable[] = {\n" + Repeat(80, "  F(1),\n") + "};\n",
         ""},
        {"BracesInLiterals", "tests/x.cc",
         "void F() { G(\"{\", '{'); }\n" + Repeat(80, "int F();\n"), ""},
        {"TestCase", "tests/x.cc", "TEST(A, B) {\n" + Repeat(70, "  G();\n") + "}\n",
         "function_size:1"},
    }),
    [](const auto& info) { return info.param.name; });

TEST(RegisteredTest, AFileThatNoListNamesIsFound) {
  const std::string lists =
      "millrace_test(storage_test SOURCES\n  storage/row_key_test.cc\n  last.cc)";
  EXPECT_THAT(CheckRegistered(MakeSourceFile("tests/storage/row_key_test.cc", ""), lists),
              IsEmpty());
  EXPECT_THAT(CheckRegistered(MakeSourceFile("storage/last.cc", ""), lists), IsEmpty());
  EXPECT_THAT(Found(CheckRegistered(MakeSourceFile("tests/storage/log_test.cc", ""), lists)),
              ElementsAre("registered:0"));
  // The end of a longer name is no mention.
  EXPECT_THAT(Found(CheckRegistered(MakeSourceFile("tests/storage/key_test.cc", ""), lists)),
              ElementsAre("registered:0"));
}

TEST(ExceptionsTest, AllowByRuleAndPath) {
  const std::vector<Finding> findings = {{"shared_ptr", "storage/l0.h", 3, ""},
                                         {"shared_ptr", "storage/l0.h", 9, ""},
                                         {"sleep", "storage/l0.h", 4, ""}};
  EXPECT_THAT(Found(ApplyExceptions(findings, "# why\nshared_ptr storage/l0.h readers share it\n")),
              ElementsAre("sleep:4"));
}

TEST(ExceptionsTest, StaleOnesAndThoseWithoutReasonAreFound) {
  EXPECT_THAT(Found(ApplyExceptions({}, "\nsleep storage/l0.h once needed\n")),
              ElementsAre("exception:2"));
  EXPECT_THAT(Found(ApplyExceptions({{"sleep", "a.cc", 1, ""}}, "sleep a.cc\n")),
              ElementsAre("exception:1"));
}

TEST(FindingTest, PrintsAsEditorsReadIt) {
  EXPECT_EQ(ToString({"sleep", "a/b.cc", 12, "no"}), "a/b.cc:12: [sleep] no");
}

}  // namespace
}  // namespace millrace::testing
