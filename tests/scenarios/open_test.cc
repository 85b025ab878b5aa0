// Directories that are no store, or not ours to open, and engines that are closed: what is
// answered, and that nobody's files are touched.

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/numbered_batches.h"
#include "tests/testing/temporary_directory.h"
#include <grp.h>

namespace millrace {
namespace {

using storage::Collection;
using testing::BuildFlushed;
using ::testing::HasSubstr;
using testing::MessageOf;
using testing::NumberedBatch;
using testing::NumberedCollection;
using testing::NumberedId;
using testing::OpenEngine;
using testing::QuietOptions;
using testing::ReadNumbered;
using testing::TemporaryDirectory;
using Code = absl::StatusCode;

TEST(OpenTest, DirectoryThatIsNoStoreIsRefusedAndLeftAlone) {
  TemporaryDirectory directory;
  std::ofstream(directory.File("letter.txt")) << "dear";
  const auto engine = Engine::Open(directory.path(), QuietOptions());
  EXPECT_EQ(engine.status().code(), Code::kFailedPrecondition);
  EXPECT_THAT(MessageOf(engine.status()), HasSubstr("letter.txt"));
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    EXPECT_EQ(entry.path().filename(), "letter.txt");
    ++count;
  }
  EXPECT_EQ(count, 1);
}

TEST(OpenTest, FileInsteadOfADirectoryIsRefused) {
  TemporaryDirectory directory;
  std::ofstream(directory.File("file")) << "text";
  const auto engine = Engine::Open(directory.File("file"), QuietOptions());
  EXPECT_EQ(engine.status().code(), Code::kFailedPrecondition);
  EXPECT_THAT(MessageOf(engine.status()), HasSubstr(directory.File("file")));
  EXPECT_EQ(Engine::Open(directory.File("file/below"), QuietOptions()).status().code(),
            Code::kFailedPrecondition);
  EXPECT_EQ(Engine::Open(directory.File("no/such"), QuietOptions()).status().code(),
            Code::kNotFound);
  EXPECT_EQ(Engine::Open("", QuietOptions()).status().code(), Code::kInvalidArgument);
}

// Runs `body` in a forked child; true if it answered true.
bool InChild(absl::FunctionRef<bool()> body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : 1);
  int status = -1;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool Is(const absl::Status& status, Code code, const std::string& text) {
  const bool is = status.code() == code && absl::StrContains(status.message(), text);
  if (!is) std::cerr << "answered " << status << std::endl;
  return is;
}

TEST(OpenTest, WithoutPermissionTheOpenNamesWhatItMayNot) {
  TemporaryDirectory directory;
  ASSERT_EQ(chmod(directory.path().c_str(), 0755), 0);
  const std::string store = directory.File("store");
  BuildFlushed(store, 3);
  if (geteuid() != 0) {  // Only root can play nobody, but others have doors of their own to shut.
    ASSERT_EQ(chmod(store.c_str(), 0), 0);
    EXPECT_TRUE(Is(Engine::Open(store, QuietOptions()).status(), Code::kPermissionDenied, store));
    ASSERT_EQ(chmod(store.c_str(), 0700), 0);
    auto engine = OpenEngine(store);
    EXPECT_EQ(ReadNumbered(*engine).batches.size(), 3u);
    return;
  }
  const auto open_as_nobody = [&](const std::string& path) {
    return InChild([&] {
      if (setgroups(0, nullptr) != 0 || setgid(65534) != 0 || setuid(65534) != 0) return false;
      return Is(Engine::Open(path, QuietOptions()).status(), Code::kPermissionDenied, path);
    });
  };
  EXPECT_TRUE(open_as_nobody(store)) << "files of another user";
  ASSERT_EQ(chmod(store.c_str(), 0700), 0);
  EXPECT_TRUE(open_as_nobody(store)) << "a directory of another user";
  EXPECT_TRUE(open_as_nobody(directory.File("new"))) << "a directory in another user's";
  auto engine = OpenEngine(store);
  EXPECT_EQ(ReadNumbered(*engine).batches.size(), 3u);
}

TEST(OpenTest, SecondProcessIsToldWhoHasTheStore) {
  TemporaryDirectory directory;
  int ready[2], finish[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(finish), 0);
  const pid_t owner = fork();
  if (owner == 0) {
    close(finish[1]);
    auto engine = Engine::Open(directory.path(), QuietOptions());
    char byte = engine.ok() ? '1' : '0';
    if (write(ready[1], &byte, 1) != 1) _exit(2);
    static_cast<void>(read(finish[0], &byte, 1));  // Ends when the parent says so, or ends.
    engine->reset();
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, '1');
  const auto second = Engine::Open(directory.path(), QuietOptions());
  EXPECT_EQ(second.status().code(), Code::kUnavailable) << second.status();
  EXPECT_EQ(GetOwnerPid(second.status()), owner);
  EXPECT_THAT(MessageOf(second.status()), HasSubstr(absl::StrCat(owner)));
  ASSERT_EQ(write(finish[1], "x", 1), 1);
  int status = -1;
  ASSERT_EQ(waitpid(owner, &status, 0), owner);
  EXPECT_EQ(status, 0);
  EXPECT_NE(OpenEngine(directory.path()), nullptr);
  for (const int descriptor : {ready[0], ready[1], finish[0], finish[1]}) close(descriptor);
}

TEST(OpenTest, SecondOpenInOneProcessIsRefused) {
  TemporaryDirectory directory;
  const auto engine = OpenEngine(directory.path());
  const auto second = Engine::Open(directory.path(), QuietOptions());
  EXPECT_EQ(second.status().code(), Code::kUnavailable);
  EXPECT_EQ(GetOwnerPid(second.status()), getpid());
  EXPECT_TRUE(engine->CreateCollection("still works").ok());
}

TEST(OpenTest, StoreThatCouldNotBeOpenedIsFreeForTheNextOpen) {
  TemporaryDirectory directory;
  BuildFlushed(directory.path(), 2);
  const std::string log = directory.File("log");
  std::filesystem::rename(log, directory.File("runs"));  // A name of ours that is out of the way.
  EXPECT_FALSE(Engine::Open(directory.path(), QuietOptions()).ok());
  std::filesystem::remove_all(log);
  std::filesystem::rename(directory.File("runs"), log);
  const auto engine = OpenEngine(directory.path());
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(ReadNumbered(*engine).batches.size(), 2u);
}

TEST(OpenTest, UseAfterShutdownAnswersCancelled) {
  TemporaryDirectory directory;
  const auto engine = OpenEngine(directory.path());
  const Collection collection = NumberedCollection(*engine);
  ASSERT_TRUE(engine->Commit(NumberedBatch(collection, 1)).Wait(testing::kPatience).ok());
  auto snapshot = engine->TakeSnapshot("kept");
  ASSERT_TRUE(snapshot.ok());
  ASSERT_TRUE(snapshot->Get(collection, NumberedId(1, 0)).ok());
  const CommitToken token = engine->NewToken();
  EXPECT_TRUE(engine->Shutdown().Balanced());
  std::map<std::string, absl::Status> answers = {
      {"commit", engine->Commit(NumberedBatch(collection, 2)).Wait(testing::kPatience).status()},
      {"flush", engine->Flush().Wait(testing::kPatience).status()},
      {"take", engine->TakeSnapshot().status()},
      {"outcome", engine->GetOutcome(token).status()},
      {"open", engine->OpenCollection("numbered").status()},
      {"create", engine->CreateCollection("new").status()},
      {"list", engine->ListCollections().status()},
      {"get", snapshot->Get(collection, NumberedId(1, 0)).status()},
      {"count", snapshot->Count(collection).status()},
      {"scan", snapshot->Scan(collection, {}, [](const auto&) { return true; })},
  };
  for (const auto& [what, status] : answers) {
    EXPECT_EQ(status.code(), Code::kCancelled) << what << ": " << status;
    EXPECT_FALSE(status.message().empty()) << what;
  }
  EXPECT_EQ(engine->GetStatus().published_version, 2u);
  EXPECT_TRUE(engine->Shutdown().Balanced());
}

}  // namespace
}  // namespace millrace
