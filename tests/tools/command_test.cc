// The millrace command as a user meets it: a process of its own, its output and its exit code.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/temporary_directory.h"
#include "tools/command_process.h"

#include "millrace/storage/document.h"
#include "millrace/storage/environment.h"
#include "millrace/tools/exit_code.h"

namespace millrace {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CommandTest : public ::testing::Test {
 protected:
  CommandResult Run(const std::vector<std::string>& words, std::string_view input = "") {
    return RunMillrace(words, input);
  }

  void Expect(const std::vector<std::string>& words, ExitCode exit_code, std::string_view out,
              std::string_view input = "") {
    const CommandResult result = Run(words, input);
    EXPECT_EQ(result.exit_code, static_cast<int>(exit_code))
        << ::testing::PrintToString(words) << result.err;
    EXPECT_EQ(result.out, out) << ::testing::PrintToString(words);
    if (exit_code == ExitCode::kOk) {
      EXPECT_EQ(result.err, "") << ::testing::PrintToString(words);
    }
  }

  // Fails with this code, with nothing on standard output, and says `want`.
  void ExpectFailure(const std::vector<std::string>& words, ExitCode exit_code,
                     const std::string& want, std::string_view input = "") {
    const CommandResult result = Run(words, input);
    EXPECT_EQ(result.exit_code, static_cast<int>(exit_code))
        << ::testing::PrintToString(words) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, AllOf(HasSubstr("millrace: "), HasSubstr(want)))
        << ::testing::PrintToString(words);
  }

  ::millrace::testing::TemporaryDirectory directory_;
  const std::string store_ = directory_.File("store");
};

TEST_F(CommandTest, IndexesAreCreatedListedSearchedAndDropped) {
  Expect({"put", store_, "people", "z", "{}"}, ExitCode::kOk, "");
  Expect({"delete", store_, "people", "z"}, ExitCode::kOk, "");
  Expect({"index", "create", store_, "people", "mail", "--unique"}, ExitCode::kOk, "");
  Expect({"index", "create", store_, "people", "age"}, ExitCode::kOk, "");
  Expect({"put", store_, "people", "ada", R"({"age":36,"mail":"a@x"})"}, ExitCode::kOk, "");
  Expect({"put", store_, "people", "alan", R"({"age":41,"mail":"b@x"})"}, ExitCode::kOk, "");
  ExpectFailure({"put", store_, "people", "eve", R"({"mail":"a@x"})"}, ExitCode::kFailed,
                "record 'ada' has it");
  Expect({"index", "list", store_}, ExitCode::kOk,
         "people  age  multi  age  online\npeople  mail  unique  mail  online\n");
  const std::string ada = std::string(R"({"_id":"ada","age":36,"mail":"a@x"})") + "\n";
  const std::string alan = std::string(R"({"_id":"alan","age":41,"mail":"b@x"})") + "\n";
  Expect({"find", store_, "people", "mail", "a@x"}, ExitCode::kOk, ada);
  Expect({"find", store_, "people", "mail", "b", "--prefix"}, ExitCode::kOk, alan);
  Expect({"find", store_, "people", "age", "36.0"}, ExitCode::kOk, ada);
  Expect({"find", store_, "people", "age", "-", "--from=30", "--reverse"}, ExitCode::kOk,
         alan + ada);
  Expect({"find", store_, "people", "age", "-", "--to=41", "--limit=5"}, ExitCode::kOk, ada);
  Expect({"find", store_, "people", "age", "1"}, ExitCode::kNotFound, "");
  ExpectFailure({"find", store_, "people", "name", "x"}, ExitCode::kNotFound, "no index 'name'");
  ExpectFailure({"index", "create", store_, "people", "a..b"}, ExitCode::kBadData, "single dots");
  Expect({"index", "drop", store_, "people", "age"}, ExitCode::kOk, "");
  ExpectFailure({"index", "drop", store_, "people", "age"}, ExitCode::kNotFound, "no index 'age'");
  ExpectFailure({"index", "polish", store_}, ExitCode::kUsage, "unknown verb");
}

TEST_F(CommandTest, IndexesAreBuiltAndBuiltAnew) {
  for (const char* id : {"a", "b", "c"}) {
    Expect({"put", store_, "people", id, R"({"age":36,"mail":"x"})"}, ExitCode::kOk, "");
  }
  const CommandResult created = Run({"index", "create", store_, "people", "age"});
  EXPECT_EQ(created.exit_code, 0);
  EXPECT_THAT(created.err, HasSubstr("built 3 entries from 3 rows"));
  const CommandResult rebuilt = Run({"index", "rebuild", store_, "people", "age", "--source=scan"});
  EXPECT_EQ(rebuilt.exit_code, 0);
  EXPECT_THAT(rebuilt.err, HasSubstr("built 3 entries from 3 rows"));
  ExpectFailure({"index", "rebuild", store_, "people", "age", "--source=participation"},
                ExitCode::kBadData, "not scoped by a relation");
  ExpectFailure({"index", "rebuild", store_, "people", "age", "--source=hearsay"}, ExitCode::kUsage,
                "hearsay");
  ExpectFailure({"index", "rebuild", store_, "people", "name"}, ExitCode::kNotFound,
                "no index 'name'");
  ExpectFailure({"index", "create", store_, "people", "mail", "--unique"}, ExitCode::kFailed,
                "2 records have a value of the unique index 'mail' that another record has");
  EXPECT_THAT(Run({"index", "list", store_}).out,
              HasSubstr("people  mail  unique  mail  failed, lookups scan, last build failed: 2"));
  const CommandResult resolved =
      Run({"index", "rebuild", store_, "people", "mail", "--duplicates=lowest-id"});
  EXPECT_EQ(resolved.exit_code, 0);
  EXPECT_THAT(resolved.err, HasSubstr("2 duplicates left out"));
  Expect({"index", "list", store_}, ExitCode::kOk,
         "people  age  multi  age  online\npeople  mail  unique  mail  online\n");
}

TEST_F(CommandTest, MembersAreLinkedListedAndUnlinked) {
  for (const char* id : {"a", "b"}) Expect({"put", store_, "people", id, "{}"}, ExitCode::kOk, "");
  Expect({"put", store_, "teams", "t", "{}"}, ExitCode::kOk, "");
  ExpectFailure({"link", store_, "staff", "t", "a"}, ExitCode::kNotFound, "--owners");
  Expect({"link", store_, "staff", "t", "a", "--owners=teams", "--members=people", "--order=score",
          "--score=2", "--max=2"},
         ExitCode::kOk, "");
  Expect({"link", store_, "staff", "t", "b", "--score=1"}, ExitCode::kOk, "");
  Expect({"members", store_, "staff", "t"}, ExitCode::kOk, "b  1\na  2\n");
  Expect({"members", store_, "staff", "t", "--reverse", "--limit=1"}, ExitCode::kOk, "a  2\n");
  ExpectFailure({"link", store_, "staff", "t", "c"}, ExitCode::kFailed, "does not exist");
  ExpectFailure({"link", store_, "staff", "t", "a", "--score=x"}, ExitCode::kUsage, "number");
  Expect({"unlink", store_, "staff", "t", "b"}, ExitCode::kOk, "");
  Expect({"members", store_, "staff", "t"}, ExitCode::kOk, "a  2\n");
}

// X9.
TEST_F(CommandTest, DocumentIsDescribedByIndexesAndRelations) {
  Expect({"put", store_, "people", "a", R"({"age":36,"mail":" "})"}, ExitCode::kOk, "");
  Expect({"put", store_, "teams", "t", "{}"}, ExitCode::kOk, "");
  Expect({"link", store_, "staff", "t", "a", "--owners=teams", "--members=people", "--score=2"},
         ExitCode::kOk, "");
  for (const char* scope : {"--name=age", "--scope=staff"}) {
    EXPECT_EQ(Run({"index", "create", store_, "people", "age", scope}).exit_code, 0);
  }
  EXPECT_EQ(Run({"index", "create", store_, "people", "mail"}).exit_code, 0);
  Expect({"describe", store_, "people", "a"}, ExitCode::kOk,
         "index  age  36\nindex  age@staff  36  of t\nmember  staff  of t  2\n");
  Expect({"describe", store_, "teams", "t"}, ExitCode::kOk, "");
  ExpectFailure({"describe", store_, "people", "b"}, ExitCode::kNotFound, "no document 'b'");
}

TEST_F(CommandTest, PutGetCountScanDelete) {
  Expect({"put", store_, "people", "b", R"({"z":1.0,"a":[true,null]})"}, ExitCode::kOk, "");
  Expect({"put", store_, "people", "a", "-"}, ExitCode::kOk, "", " {\"name\" :\n\"x\"}\n");
  Expect({"put", store_, "other", "a", "{}"}, ExitCode::kOk, "");
  Expect({"get", store_, "people", "b"}, ExitCode::kOk, "{\"a\":[true,null],\"z\":1.0}\n");
  Expect({"count", store_, "people"}, ExitCode::kOk, "2\n");
  Expect({"scan", store_, "people"}, ExitCode::kOk,
         "{\"_id\":\"a\",\"name\":\"x\"}\n{\"_id\":\"b\",\"a\":[true,null],\"z\":1.0}\n");
  Expect({"put", store_, "people", "b", "{}"}, ExitCode::kOk, "");
  Expect({"get", store_, "people", "b"}, ExitCode::kOk, "{}\n");
  Expect({"scan", store_, "other"}, ExitCode::kOk, "{\"_id\":\"a\"}\n");
  Expect({"delete", store_, "people", "b"}, ExitCode::kOk, "");
  Expect({"count", store_, "people"}, ExitCode::kOk, "1\n");
  ExpectFailure({"get", store_, "people", "b"}, ExitCode::kNotFound, "'b'");
  ExpectFailure({"delete", store_, "people", "b"}, ExitCode::kNotFound, "'b'");
}

TEST_F(CommandTest, WhatIsMissingIsNamed) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"get", store_, "people", "a"},
        {"delete", store_, "people", "a"},
        {"scan", store_, "people"},
        {"count", store_, "people"},
        {"stat", store_}}) {
    ExpectFailure(words, ExitCode::kNotFound, store_);
  }
  struct stat info;
  EXPECT_NE(::stat(store_.c_str(), &info), 0) << "a reading command created the store";
  Expect({"put", store_, "people", "a", "{}"}, ExitCode::kOk, "");
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"get", store_, "animals", "a"},
        {"delete", store_, "animals", "a"},
        {"scan", store_, "animals"},
        {"count", store_, "animals"}}) {
    ExpectFailure(words, ExitCode::kNotFound, "animals");
  }
  ExpectFailure({"get", store_, "people", "nobody"}, ExitCode::kNotFound, "'nobody'");
}

TEST_F(CommandTest, UsageIsExplained) {
  ExpectFailure({}, ExitCode::kUsage, "--help");
  ExpectFailure({"paint"}, ExitCode::kUsage, "unknown verb 'paint'");
  ExpectFailure({"get", store_, "c"}, ExitCode::kUsage, "ID is missing");
  ExpectFailure({"get", store_, "c", "a", "b"}, ExitCode::kUsage, "'b' is one argument too many");
  ExpectFailure({"get", store_, "c", "a", "--wrong"}, ExitCode::kUsage, "unknown option --wrong");
  ExpectFailure({"scan", store_, "c", "--limit=x"}, ExitCode::kUsage, "'x' is not a number");
  ExpectFailure({"scan", store_, "c", "--limit"}, ExitCode::kUsage, "needs a value");
  ExpectFailure({"stat", store_, "--json=1"}, ExitCode::kUsage, "takes no value");
  ExpectFailure({"import", store_, "c", "-", "--format=csv"}, ExitCode::kUsage, "'csv'");
  ExpectFailure({"import", store_, "c", "-", "--on-error=x"}, ExitCode::kUsage, "'x'");
  ExpectFailure({"import", store_, "c", "-", "--id="}, ExitCode::kUsage, "--id");
  struct stat info;
  EXPECT_NE(::stat(store_.c_str(), &info), 0);
}

TEST_F(CommandTest, HelpAndVersionArePrinted) {
  const CommandResult help = Run({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(Run({"--version"}).out,
              ::testing::MatchesRegex("millrace [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  EXPECT_EQ(Run({"--version"}).exit_code, 0);
  for (const char* verb : {"import", "get", "put", "delete", "scan", "count", "stat"}) {
    EXPECT_THAT(help.out, HasSubstr(verb));
    const CommandResult result = Run({verb, "--help"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err, "");
    EXPECT_THAT(result.out, HasSubstr(std::string("usage: millrace ") + verb + " STORE"));
  }
}

TEST_F(CommandTest, BadDocumentsAndIdsAreRefused) {
  const std::string deep = "{\"a\":" + std::string(300, '[') + std::string(300, ']') + "}";
  const std::string large = "{\"a\":\"" + std::string(2 << 20, 'x') + "\"}";
  struct Case {
    std::string id;
    std::string json;
    const char* want;
  };
  const Case cases[] = {
      {"a", "", "empty"},
      {"a", "[1]", "not an object"},
      {"a", "{\"a\":1", "expected ',' or '}'"},
      {"a", "{\"a\":1,\"a\":2}", "'a' stands twice"},
      {"a", "{\"a\":18446744073709551616}", "outside"},
      {"a", "{\"a\":1e999}", "too large for a double"},
      {"a", "{\"a\":\"\xff\"}", "UTF-8"},
      {"a", "{\"a\\u0000\":1}", "NUL"},
      {"a", deep, "nested more than 256"},
      {"a", large, "larger than 1048576"},
      {"a", "{\"_id\":\"b\"}", "_id of its own"},
      {"", "{}", "empty"},
      {std::string(256, 'x'), "{}", "255"},
      {"\xff", "{}", "UTF-8"},
  };
  for (const Case& c : cases) {
    ExpectFailure({"put", store_, "c", c.id, "-"}, ExitCode::kBadData, c.want, c.json);
  }
  struct stat info;
  EXPECT_NE(::stat(store_.c_str(), &info), 0) << "created for nothing";
  Expect({"put", store_, "c", "a", "{\"_id\":\"a\",\"b\":1}"}, ExitCode::kOk, "");
  Expect({"get", store_, "c", "a"}, ExitCode::kOk, "{\"_id\":\"a\",\"b\":1}\n");
  Expect({"scan", store_, "c"}, ExitCode::kOk, "{\"_id\":\"a\",\"b\":1}\n");
  const std::string long_id(255, 'x');
  Expect({"put", store_, "c", long_id, "{}"}, ExitCode::kOk, "");
  Expect({"get", store_, "c", long_id}, ExitCode::kOk, "{}\n");
  ExpectFailure({"put", store_, "", "a", "{}"}, ExitCode::kBadData, "collection");
}

TEST_F(CommandTest, ScanTakesPrefixAndLimit) {
  for (const char* id : {"a", "ab", "abc", "b", "\xc3\xa9"}) {
    Expect({"put", store_, "c", id, "{}"}, ExitCode::kOk, "");
  }
  Expect({"scan", store_, "c", "--prefix=ab"}, ExitCode::kOk,
         "{\"_id\":\"ab\"}\n{\"_id\":\"abc\"}\n");
  Expect({"scan", store_, "c", "--prefix", "ab", "--limit", "1"}, ExitCode::kOk,
         "{\"_id\":\"ab\"}\n");
  Expect({"scan", store_, "c", "--limit=0"}, ExitCode::kOk, "");
  Expect({"scan", store_, "c", "--prefix=x"}, ExitCode::kOk, "");
  Expect({"scan", store_, "c", "--prefix=\xc3"}, ExitCode::kOk, "{\"_id\":\"\xc3\xa9\"}\n");
}

TEST_F(CommandTest, StatIsJsonWhereAskedFor) {
  Expect({"put", store_, "people", "a", "{}"}, ExitCode::kOk, "");
  Expect({"put", store_, "people", "b", "{}"}, ExitCode::kOk, "");
  const CommandResult text = Run({"stat", store_});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("people"));
  const CommandResult json = Run({"stat", store_, "--json"});
  EXPECT_EQ(json.exit_code, 0) << json.err;
  const absl::StatusOr<storage::Document> stat = storage::Document::FromJson(json.out);
  ASSERT_TRUE(stat.ok()) << stat.status() << "\n" << json.out;
  EXPECT_THAT(json.out, HasSubstr(R"({"documents":2,"id":1,"name":"people"})"));
  EXPECT_EQ(stat->Field("health"), storage::FieldValue(std::string_view("ok")));
}

TEST_F(CommandTest, ALockedStoreNamesItsOwner) {
  Expect({"put", store_, "c", "a", "{}"}, ExitCode::kOk, "");
  CommandProcess owner({"import", store_, "c", "-"});
  // The bad line is reported once the store is open; after it the import waits for more.
  owner.Write("{\"id\":\"b\"}\n");
  owner.CloseInput();
  EXPECT_EQ(owner.Wait().exit_code, 0);
  CommandProcess second({"import", store_, "c", "-", "--on-error=skip"});
  second.Write("bad\n");
  ASSERT_TRUE(second.WaitForMessage("line 1"));
  for (const std::vector<std::string>& words : {std::vector<std::string>{"get", store_, "c", "a"},
                                                {"put", store_, "c", "a", "{}"},
                                                {"stat", store_},
                                                {"verify", store_}}) {
    ExpectFailure(words, ExitCode::kLocked, std::to_string(second.pid()));
  }
  EXPECT_EQ(second.Wait().exit_code, 65);
  Expect({"count", store_, "c"}, ExitCode::kOk, "2\n");
}

TEST_F(CommandTest, ADirectoryThatIsNoStoreIsLeftAlone) {
  ASSERT_EQ(::mkdir(store_.c_str(), 0755), 0);
  std::ofstream(store_ + "/thesis.txt") << "precious";
  ExpectFailure({"put", store_, "c", "a", "{}"}, ExitCode::kFailed, store_);
  std::ofstream(directory_.File("file")) << "text";
  ExpectFailure({"put", directory_.File("file"), "c", "a", "{}"}, ExitCode::kFailed, "file");
  EXPECT_EQ(::access((store_ + "/store.mdb").c_str(), F_OK), -1);
}

TEST_F(CommandTest, NobodyMayNotOpenAnothersStore) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become nobody";
  Expect({"put", store_, "c", "a", "{}"}, ExitCode::kOk, "");
  ASSERT_EQ(::chmod(store_.c_str(), 0700), 0);
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  for (const std::vector<std::string>& words : {std::vector<std::string>{"get", store_, "c", "a"},
                                                {"put", store_, "c", "b", "{}"},
                                                {"put", directory_.File("new"), "c", "b", "{}"}}) {
    CommandProcess process(words, /*as_nobody=*/true);
    const CommandResult result = process.Wait();
    EXPECT_EQ(result.exit_code, static_cast<int>(ExitCode::kFailed)) << result.err;
    EXPECT_THAT(result.err, HasSubstr("ermission denied"));
  }
}

TEST_F(CommandTest, ADamagedRecordIsNamedAndTheRestIsRead) {
  Expect({"put", store_, "c", "bad", R"({"a":"needle"})"}, ExitCode::kOk, "");
  Expect({"put", store_, "c", "good", R"({"a":"thread"})"}, ExitCode::kOk, "");
  const std::string path = store_ + "/store.mdb";
  std::ifstream in(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  size_t count = 0;
  for (size_t at = bytes.find("needle"); at != std::string::npos; at = bytes.find("needle", at)) {
    bytes[at] = 'N';
    ++count;
  }
  ASSERT_GT(count, 0u) << "a closed store holds its records in LMDB";
  std::ofstream(path, std::ios::binary) << bytes;
  ExpectFailure({"get", store_, "c", "bad"}, ExitCode::kBadData, "'bad' of collection 1");
  Expect({"get", store_, "c", "good"}, ExitCode::kOk, "{\"a\":\"thread\"}\n");
  Expect({"delete", store_, "c", "bad"}, ExitCode::kOk, "");
  Expect({"scan", store_, "c"}, ExitCode::kOk, "{\"_id\":\"good\",\"a\":\"thread\"}\n");
}

TEST_F(CommandTest, AuditTellsHealthyFromWrongAndRepairs) {
  Expect({"put", store_, "people", "ada", R"({"name":"Ada","age":36})"}, ExitCode::kOk, "");
  Expect({"put", store_, "people", "alan", R"({"name":"Alan","age":41})"}, ExitCode::kOk, "");
  ASSERT_EQ(Run({"index", "create", store_, "people", "age"}).exit_code, 0);
  const std::string healthy =
      "records  people  2 examined, healthy\nmulti index  people.age  2 examined, healthy\n";
  Expect({"index", "audit", store_}, ExitCode::kOk, healthy);
  {
    auto environment = storage::Environment::Open(
        {.directory = store_, .create_if_missing = false, .quota_bytes = uint64_t{1} << 30});
    ASSERT_TRUE(environment.ok()) << environment.status();
    const auto permit = (*environment)->TakeWritePermit();
    auto write = (*environment)->BeginWrite(*permit);
    std::string last;
    {
      storage::Cursor entry = write->NewCursor(storage::TreeId::kIndex);
      entry.SeekLast();
      ASSERT_TRUE(entry.Valid());
      last = std::string(entry.key());
    }
    ASSERT_TRUE(*write->Delete(storage::TreeId::kIndex, last));
    ASSERT_TRUE(write->Commit().ok());
  }
  const CommandResult wrong = Run({"index", "audit", store_, "people", "age"});
  EXPECT_EQ(wrong.exit_code, static_cast<int>(ExitCode::kBadData));
  EXPECT_EQ(wrong.out, "multi index  people.age  1 examined, 1 missing\n");
  EXPECT_THAT(wrong.err, HasSubstr("people.age: record 'alan', value 41: there is no entry"));
  const CommandResult json = Run({"index", "audit", store_, "--json"});
  EXPECT_EQ(json.exit_code, static_cast<int>(ExitCode::kBadData));
  EXPECT_THAT(json.out, AllOf(HasSubstr("\"healthy\":false"), HasSubstr("\"complete\":true"),
                              HasSubstr("\"missing\":1")));
  Expect({"index", "audit", store_, "--repair"}, ExitCode::kOk,
         "repaired  multi index  people.age  1 put, 0 removed, 0 left as they are\n" + healthy);
  Expect({"index", "audit", store_, "--repair"}, ExitCode::kOk, healthy);
  Expect({"find", store_, "people", "age", "41"}, ExitCode::kOk,
         std::string(R"({"_id":"alan","age":41,"name":"Alan"})") + "\n");
  ExpectFailure({"index", "audit", store_, "none"}, ExitCode::kNotFound, "no collection 'none'");
  ExpectFailure({"index", "audit", store_, "people", "x"}, ExitCode::kNotFound, "no index 'x'");
}

// What is not checked is said, and a repair does not choose between records.
TEST_F(CommandTest, AuditSaysWhatItDidNotCheckAndWhatItCannotRepair) {
  for (const char* id : {"a", "b"}) {
    Expect({"put", store_, "people", id, R"({"mail":"x"})"}, ExitCode::kOk, "");
  }
  EXPECT_NE(Run({"index", "create", store_, "people", "mail", "--unique"}).exit_code, 0);
  Expect({"index", "audit", store_, "people", "mail"}, ExitCode::kOk,
         "unique index  people.mail  NOT CHECKED: it was never built\n");
  EXPECT_THAT(Run({"index", "audit", store_, "--json"}).out, HasSubstr("\"complete\":false"));
  ASSERT_EQ(Run({"index", "rebuild", store_, "people", "mail", "--duplicates=lowest-id"}).exit_code,
            0);
  const CommandResult duplicate = Run({"index", "audit", store_, "people", "mail", "--repair"});
  EXPECT_EQ(duplicate.exit_code, static_cast<int>(ExitCode::kBadData));
  EXPECT_EQ(duplicate.out,
            "repaired  unique index  people.mail  0 put, 0 removed, 1 left as they are\n"
            "unique index  people.mail  1 examined, 1 duplicate\n");
  EXPECT_THAT(duplicate.err, HasSubstr("record 'b', value \"x\": record 'a' has it, too"));
}

TEST_F(CommandTest, OutputThatCannotBeWrittenIsAFailure) {
  Expect({"put", store_, "c", "a", "{}"}, ExitCode::kOk, "");
  const std::string command =
      std::string(MILLRACE_COMMAND) + " get " + store_ + " c a 2>" + directory_.File("err");
  const int status = std::system((command + " >/dev/full").c_str());
  EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(ExitCode::kFailed));
  std::ifstream messages(directory_.File("err"));
  const std::string err((std::istreambuf_iterator<char>(messages)), {});
  EXPECT_THAT(err, HasSubstr("No space left"));
}

TEST_F(CommandTest, VerifyTellsSoundFromDamaged) {
  ASSERT_EQ(Run({"put", store_, "people", "ada", R"({"name":"Ada"})"}).exit_code, 0);
  const CommandResult sound = Run({"verify", store_});
  EXPECT_EQ(sound.exit_code, 0) << sound.err;
  EXPECT_EQ(sound.err, "");
  EXPECT_THAT(sound.out, AllOf(HasSubstr("verdict      sound\n"), HasSubstr("records: 1 rows")));
  const CommandResult json = Run({"verify", store_, "--json"});
  EXPECT_EQ(json.exit_code, 0);
  EXPECT_THAT(json.out, AllOf(HasSubstr("\"sound\":true"), HasSubstr("\"damage\":[]")));

  std::fstream file(store_ + "/store.mdb", std::ios::in | std::ios::out | std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  size_t count = 0;
  for (size_t at = 0; (at = bytes.find("Ada", at)) != std::string::npos; ++at, ++count) {
    file.seekp(static_cast<std::streamoff>(at));
    file.put('a');
  }
  file.close();
  ASSERT_GT(count, 0u);
  const CommandResult damaged = Run({"verify", store_});
  EXPECT_EQ(damaged.exit_code, static_cast<int>(ExitCode::kBadData));
  EXPECT_THAT(damaged.err, HasSubstr("record 'ada' of collection 1: checksum mismatch"));
  EXPECT_THAT(damaged.out, HasSubstr("DAMAGED, in 1 place\n"));
  const CommandResult damaged_json = Run({"verify", store_, "--json"});
  EXPECT_EQ(damaged_json.exit_code, static_cast<int>(ExitCode::kBadData));
  EXPECT_THAT(damaged_json.out,
              AllOf(HasSubstr("\"damage_count\":1"), HasSubstr("\"sound\":false")));
  ExpectFailure({"verify", store_ + "/none"}, ExitCode::kNotFound, "no such directory");
}

}  // namespace
}  // namespace millrace
