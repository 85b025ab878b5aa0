#include "millrace/storage/file_system.h"

#include <errno.h>
#include <stdlib.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "tests/storage/log_life.h"
#include "tests/testing/faulty_file_system.h"

namespace millrace::storage {
namespace {

// A fresh directory on the machine's own file system, removed with what is in it.
class FileSystemTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "millrace_files_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }

  void TearDown() override {
    RemoveAll(JoinPath(directory_, "log"));
    RemoveAll(directory_);
  }

  static void RemoveAll(const std::string& directory) {
    const absl::StatusOr<std::vector<std::string>> names = SystemFileSystem().List(directory);
    if (!names.ok()) return;
    for (const std::string& name : *names) {
      remove(JoinPath(directory, name).c_str());
    }
    remove(directory.c_str());
  }

  std::string Path(std::string_view name) const { return JoinPath(directory_, name); }

  FileSystem& files_ = SystemFileSystem();
  std::string directory_;
};

TEST_F(FileSystemTest, WhatIsWrittenIsRead) {
  absl::StatusOr<std::unique_ptr<File>> file = files_.Open(Path("a"), OpenMode::kCreateNew);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Write(3, "defg").ok());
  ASSERT_TRUE((*file)->Sync().ok());
  EXPECT_EQ(*(*file)->Size(), 7u);
  std::string got(10, '?');
  EXPECT_EQ(*(*file)->Read(2, got.size(), got.data()), 5u) << "fewer at the end of the file";
  EXPECT_EQ(got.substr(0, 5), std::string("\0defg", 5));
  EXPECT_EQ(*(*file)->Read(100, 1, got.data()), 0u);
}

TEST_F(FileSystemTest, NamesComeGoAndAreExchanged) {
  for (const char* name : {"b", "a"}) {
    ASSERT_TRUE((*files_.Open(Path(name), OpenMode::kCreateNew))->Write(0, name).ok());
  }
  EXPECT_EQ(*files_.List(directory_), (std::vector<std::string>{"a", "b"}));
  const absl::Status exchanged = files_.Exchange(Path("a"), Path("b"));
  if (!absl::IsUnimplemented(exchanged)) {
    ASSERT_TRUE(exchanged.ok()) << exchanged;
    char got = 0;
    EXPECT_EQ(*(*files_.Open(Path("a"), OpenMode::kRead))->Read(0, 1, &got), 1u);
    EXPECT_EQ(got, 'b');
  }
  ASSERT_TRUE(files_.Rename(Path("a"), Path("b")).ok());
  ASSERT_TRUE(files_.SyncDirectory(directory_).ok());
  EXPECT_EQ(*files_.List(directory_), (std::vector<std::string>{"b"}));
  ASSERT_TRUE(files_.Remove(Path("b")).ok());
  EXPECT_TRUE(files_.List(directory_)->empty());
  EXPECT_TRUE(files_.CreateDirectory(Path("log")).ok());
  EXPECT_TRUE(files_.CreateDirectory(Path("log")).ok()) << "it is there already";
}

TEST_F(FileSystemTest, ErrorsNameOperationPathAndCause) {
  const std::string path = Path("absent");
  struct Case {
    std::string operation;
    absl::Status got;
  };
  const Case cases[] = {
      {"open", files_.Open(path, OpenMode::kRead).status()},
      {"open", files_.Open(path, OpenMode::kReadWrite).status()},
      {"create", files_.Open(JoinPath(path, "below"), OpenMode::kCreateNew).status()},
      {"rename", files_.Rename(path, Path("other"))},
      {"exchange", files_.Exchange(path, Path("other"))},
      {"remove", files_.Remove(path)},
      {"list", files_.List(path).status()},
      {"create directory", files_.CreateDirectory(JoinPath(path, "below"))},
      {"sync directory", files_.SyncDirectory(path)},
  };
  for (const Case& c : cases) {
    EXPECT_TRUE(absl::IsNotFound(c.got)) << c.operation << ": " << c.got;
    EXPECT_TRUE(absl::StartsWith(c.got.message(), "cannot " + c.operation + " " + path)) << c.got;
    EXPECT_TRUE(absl::StrContains(c.got.message(), "No such file")) << c.got;
  }
}

TEST_F(FileSystemTest, ErrnoBecomesACode) {
  EXPECT_EQ(FileError("write", "x", ENOSPC).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(FileError("write", "x", EDQUOT).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(FileError("open", "x", EMFILE).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(FileError("open", "x", EACCES).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(FileError("create", "x", EEXIST).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(FileError("sync", "x", EIO).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(FileError("sync", "x", EIO).message(), "cannot sync x: Input/output error");
}

TEST_F(FileSystemTest, PathsAreJoinedAndSplit) {
  EXPECT_EQ(JoinPath("a/b", "c"), "a/b/c");
  EXPECT_EQ(JoinPath("/", "c"), "/c");
  EXPECT_EQ(ParentDirectory("a/b/c"), "a/b");
  EXPECT_EQ(ParentDirectory("/c"), "/");
  EXPECT_EQ(ParentDirectory("c"), ".");
}

TEST_F(FileSystemTest, ACommitLogLivesOnIt) {
  CommitLogOptions options = SmallLog();
  options.directory = Path("log");
  Version last = 0;
  for (int life_number = 0; life_number < 4; ++life_number) {
    LogLife life = OpenLog(files_, options);
    ASSERT_EQ(ReplayFault(life, 1, last), "");
    for (int group = 0; group < 40; ++group) ASSERT_TRUE(AppendGroup(*life.log, 3).ok());
    last = life.log->last_version();
  }
}

}  // namespace
}  // namespace millrace::storage
