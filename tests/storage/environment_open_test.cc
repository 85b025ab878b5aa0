#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/storage/test_store.h"
#include <lmdb.h>

#include "millrace/storage/environment.h"
#include "millrace/storage/process_fork.h"

// What Environment::Open() refuses, what it survives, and what it does to the process around it.

namespace millrace::storage {
namespace {

using ::millrace::testing::TemporaryDirectory;
using ::testing::HasSubstr;
using Code = absl::StatusCode;

absl::Status OpenStatus(const std::string& directory, bool create_if_missing = true) {
  EnvironmentOptions options = SmallOptions(directory);
  options.create_if_missing = create_if_missing;
  return Environment::Open(options).status();
}

void WriteFile(const std::string& path, const std::string& contents) {
  std::ofstream(path, std::ios::binary) << contents;
}

// Runs `body` in a forked child and expects it to return "" there; what else it returns is shown.
void ExpectInChild(absl::FunctionRef<std::string()> body) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const std::string complaint = body();
    const ssize_t written = write(ends[1], complaint.data(), complaint.size());
    _exit(complaint.empty() && written == 0 ? 0 : 1);
  }
  close(ends[1]);
  std::string complaint;
  char buffer[1024];
  for (ssize_t size; (size = read(ends[0], buffer, sizeof(buffer))) > 0;) {
    complaint.append(buffer, static_cast<size_t>(size));
  }
  close(ends[0]);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "child: " << complaint;
}

std::string Expect(const absl::Status& status, Code want, const std::string& text = "") {
  if (status.code() == want && status.ToString().find(text) != std::string::npos) return "";
  return status.ToString();
}

size_t DescriptorCount() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

void RawPut(const std::string& path, const char* tree, const std::string& key,
            const std::string& value) {
  MDB_env* env = nullptr;
  MDB_txn* txn = nullptr;
  MDB_dbi dbi = 0;
  ASSERT_EQ(mdb_env_create(&env), 0);
  mdb_env_set_maxdbs(env, 8);
  ASSERT_EQ(mdb_env_open(env, path.c_str(), MDB_NOSUBDIR, 0644), 0);
  ASSERT_EQ(mdb_txn_begin(env, nullptr, 0, &txn), 0);
  ASSERT_EQ(mdb_dbi_open(txn, tree, tree == nullptr ? 0 : MDB_CREATE, &dbi), 0);
  MDB_val k = {key.size(), const_cast<char*>(key.data())};
  MDB_val v = {value.size(), const_cast<char*>(value.data())};
  ASSERT_EQ(mdb_put(txn, dbi, &k, &v, 0), 0);
  ASSERT_EQ(mdb_txn_commit(txn), 0);
  mdb_env_close(env);
}

TEST(EnvironmentOpenTest, RefusesWhatIsNoStoreAndNamesThePath) {
  TemporaryDirectory directory;
  WriteFile(directory.File("file"), "text");
  std::filesystem::create_directory(directory.File("others"));
  WriteFile(directory.File("others/letter"), "text");
  std::filesystem::create_directory(directory.File("lost"));
  std::filesystem::create_directory(directory.File("lost/log"));
  WriteFile(directory.File("lost/log/1.log"), "text");
  std::filesystem::create_directory(directory.File("empty"));
  struct Case {
    const char* name;
    bool create;
    Code want;
    const char* text;
  };
  const Case cases[] = {
      {"file", true, Code::kFailedPrecondition, "name a directory"},
      {"file/below", true, Code::kFailedPrecondition, "name a directory"},
      {"others", true, Code::kFailedPrecondition, "letter"},
      {"lost", true, Code::kDataLoss, "store.mdb"},
      {"missing/deeper", true, Code::kNotFound, "missing"},
      {"missing", false, Code::kNotFound, "missing"},
      {"empty", false, Code::kNotFound, "empty"},
  };
  for (const Case& c : cases) {
    const absl::Status status = OpenStatus(directory.File(c.name), c.create);
    EXPECT_EQ(status.code(), c.want) << c.name << ": " << status;
    EXPECT_THAT(status.ToString(), HasSubstr(directory.File(c.name))) << c.name;
    EXPECT_THAT(status.ToString(), HasSubstr(c.text)) << c.name;
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.File("empty")));
  EXPECT_EQ(Contents(directory.File("others/letter")), "text");
  EXPECT_FALSE(std::filesystem::exists(directory.File("others/LOCK")));
  EXPECT_EQ(OpenStatus("").code(), Code::kInvalidArgument);
}

TEST(EnvironmentOpenTest, RefusesStrangersFilesAndLeavesThemAlone) {
  TemporaryDirectory text;
  WriteFile(text.File("store.mdb"), std::string(10000, 'x'));
  EXPECT_EQ(OpenStatus(text.path()).code(), Code::kFailedPrecondition);
  EXPECT_EQ(Contents(text.File("store.mdb")), std::string(10000, 'x'));

  TemporaryDirectory plain;
  RawPut(plain.File("store.mdb"), nullptr, "key", "value");
  const std::string before = Contents(plain.File("store.mdb"));
  const absl::Status status = OpenStatus(plain.path());
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_THAT(status.ToString(), HasSubstr("no Millrace store"));
  EXPECT_EQ(Contents(plain.File("store.mdb")), before);

  TemporaryDirectory other;
  RawPut(other.File("store.mdb"), "meta", "key", "value");
  EXPECT_THAT(OpenStatus(other.path()).ToString(), HasSubstr("no Millrace store"));
}

TEST(EnvironmentOpenTest, RefusesAnotherFormatNamingBothVersions) {
  TestStore store;
  store.Close();
  RawPut(store.File("store.mdb"), "meta", "format", "77");
  const absl::Status status = OpenStatus(store.path());
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_THAT(status.ToString(), HasSubstr("version 77"));
  EXPECT_THAT(status.ToString(), HasSubstr("version " + std::to_string(kFormatVersion)));
}

TEST(EnvironmentOpenTest, RefusesTheFileOfAnotherLmdbVersion) {
  TestStore store;
  store.Close();
  std::string contents = Contents(store.File("store.mdb"));
  for (const size_t page : {0, 1}) contents[page * 4096 + 16 + 4] = 2;  // The version of each meta.
  WriteFile(store.File("store.mdb"), contents);
  const absl::Status status = OpenStatus(store.path());
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_THAT(status.ToString(), HasSubstr("another version of LMDB"));
}

TEST(EnvironmentOpenTest, CreationCutShortIsFinished) {
  TemporaryDirectory directory;
  WriteFile(directory.File("LOCK"), "");
  WriteFile(directory.File("store.mdb"), "");
  EXPECT_EQ(OpenStatus(directory.path(), false).code(), Code::kNotFound);
  EXPECT_TRUE(OpenStatus(directory.path()).ok());
  EXPECT_TRUE(OpenStatus(directory.path(), false).ok());
}

// What a process that died while it created the store left behind.
TEST(EnvironmentOpenTest, DatabaseThatWasNotFinishedIsMadeAgain) {
  TemporaryDirectory directory;
  WriteFile(directory.File("store.mdb.new"), std::string(5'000, 'x'));
  EXPECT_EQ(OpenStatus(directory.path(), false).code(), Code::kNotFound);
  EXPECT_TRUE(OpenStatus(directory.path()).ok());
  EXPECT_FALSE(std::filesystem::exists(directory.File("store.mdb.new")));
  EXPECT_TRUE(OpenStatus(directory.path(), false).ok());
}

TEST(EnvironmentOpenTest, FileCutShortIsDataLossNotACrash) {
  TestStore store;
  WriteTransaction write = store.BeginWrite();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(write.Put(TreeId::kRecords, std::to_string(i), std::string(1000, 'v')).ok());
  }
  ASSERT_TRUE(write.Commit().ok());
  store.Close();
  const std::string file = store.File("store.mdb");
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  absl::StatusOr<std::unique_ptr<Environment>> environment = Environment::Open(store.options());
  if (!environment.ok()) {
    EXPECT_EQ(environment.status().code(), Code::kDataLoss) << environment.status();
    return;
  }
  ReadTransaction read = *(*environment)->BeginRead();
  int lost_count = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto value = read.Get(TreeId::kRecords, std::to_string(i));
    lost_count += value.status().code() == Code::kDataLoss;
  }
  EXPECT_GT(lost_count, 0);
}

TEST(EnvironmentOpenTest, SecondOpenInThisProcessNamesItAndChangesNothing) {
  TestStore store;
  const std::string before = Contents(store.File("store.mdb"));
  const std::string pid = std::to_string(getpid());
  std::filesystem::create_directory_symlink(store.path(), store.path() + "-link");
  for (const std::string& path : {store.path(), store.path() + "/./", store.path() + "-link"}) {
    const absl::Status status = OpenStatus(path);
    EXPECT_EQ(status.code(), Code::kUnavailable) << status;
    EXPECT_EQ(std::string(*status.GetPayload("millrace/owner-pid")), pid);
    EXPECT_THAT(status.ToString(), HasSubstr("process " + pid));
  }
  std::filesystem::remove(store.path() + "-link");
  EXPECT_EQ(Contents(store.File("store.mdb")), before);
  EXPECT_TRUE(store.Put("k", "v").ok());
}

TEST(EnvironmentOpenTest, HardLinkToAnOpenStoreIsFoundByItsInode) {
  TestStore store;
  TemporaryDirectory other;
  std::filesystem::create_hard_link(store.File("store.mdb"), other.File("store.mdb"));
  EXPECT_EQ(OpenStatus(other.path()).code(), Code::kUnavailable);
  store.Close();
  EXPECT_TRUE(OpenStatus(other.path()).ok());
}

TEST(EnvironmentOpenTest, SecondOpenInAnotherProcessNamesTheOwner) {
  TestStore store;
  const std::string before = Contents(store.File("store.mdb"));
  const std::string pid = std::to_string(getpid());
  ExpectInChild([&] { return Expect(OpenStatus(store.path()), Code::kUnavailable, pid); });
  EXPECT_EQ(Contents(store.File("store.mdb")), before);
}

TEST(EnvironmentOpenTest, OwnerThatDiedHoldsNothing) {
  TemporaryDirectory directory;
  ExpectInChild([&]() -> std::string {
    auto environment = Environment::Open(SmallOptions(directory.path()));
    if (!environment.ok()) return environment.status().ToString();
    _exit(0);  // Without closing, as if killed.
  });
  EXPECT_NE(Contents(directory.File("LOCK")), "");
  EXPECT_TRUE(OpenStatus(directory.path()).ok());
  EXPECT_EQ(Contents(directory.File("LOCK")), "");
}

TEST(EnvironmentOpenTest, ForkedChildIsRefusedAndTouchesNothing) {
  TestStore store;
  ASSERT_TRUE(store.Put("k", "v").ok());
  ReadTransaction read = store.BeginRead();
  ExpectInChild([&]() -> std::string {
    const std::string complaint =
        Expect(store.environment().BeginRead().status(), Code::kFailedPrecondition, "fork") +
        Expect(store.environment().BeginWrite(store.permit()).status(), Code::kFailedPrecondition,
               "fork") +
        Expect(read.Renew(), Code::kFailedPrecondition, "fork");
    read.End();     // Neither frees the parent's slot,
    store.Close();  // nor its lock.
    return complaint;
  });
  ExpectInChild([&] { return Expect(OpenStatus(store.path()), Code::kUnavailable); });
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(store.Put("k" + std::to_string(i), "v").ok());
  EXPECT_EQ(**read.Get(TreeId::kRecords, "k"), "v");
}

TEST(EnvironmentOpenTest, LockEndsWithTheParentAlsoIfAForkedChildLivesOn) {
  TestStore store;
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    close(ends[1]);
    char byte;
    _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);  // Until the parent closes its end.
  }
  // The child may not have run its handler yet; it has when it cannot be told from one that ended.
  store.Close();
  absl::Status status;
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  do {
    status = OpenStatus(store.path());
  } while (status.code() == Code::kUnavailable && absl::Now() < deadline);
  EXPECT_TRUE(status.ok()) << status;
  close(ends[1]);
  int result = -1;
  ASSERT_EQ(waitpid(child, &result, 0), child);
  EXPECT_EQ(result, 0);
}

TEST(EnvironmentOpenTest, OtherUsersAreRefusedNamingThePath) {
  if (getuid() != 0) GTEST_SKIP() << "only root can become another user";
  TestStore store;
  store.Close();
  ASSERT_EQ(chmod(store.path().c_str(), 0755), 0);
  const auto as_nobody = [&](const std::string& path) {
    ExpectInChild([&]() -> std::string {
      if (setgid(65534) != 0 || setuid(65534) != 0) return "cannot become nobody";
      return Expect(OpenStatus(path), Code::kPermissionDenied, path);
    });
  };
  as_nobody(store.path());
  ASSERT_EQ(chmod(store.File("LOCK").c_str(), 0666), 0);  // The lock it gets, the file it does not.
  as_nobody(store.path());
  as_nobody(store.path() + "/new");
  ASSERT_EQ(chmod(store.path().c_str(), 0700), 0);
  as_nobody(store.path());
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(EnvironmentOpenTest, MapIsHalvedUntilTheAddressSpaceAllowsIt) {
  TemporaryDirectory directory;
  ExpectInChild([&]() -> std::string {
    const rlimit limit = {uint64_t{20} << 30, uint64_t{20} << 30};
    if (setrlimit(RLIMIT_AS, &limit) != 0) return "cannot limit the address space";
    auto environment = Environment::Open({.directory = directory.path()});
    if (!environment.ok()) return environment.status().ToString();
    const uint64_t map_bytes = (*environment)->Usage().map_size_bytes;
    return map_bytes == uint64_t{16} << 30 ? "" : "mapped " + std::to_string(map_bytes);
  });
  ExpectInChild([&]() -> std::string {
    const rlimit limit = {uint64_t{1} << 30, uint64_t{1} << 30};
    if (setrlimit(RLIMIT_AS, &limit) != 0) return "cannot limit the address space";
    return Expect(Environment::Open({.directory = directory.path()}).status(),
                  Code::kResourceExhausted, "1073741824");
  });
  EXPECT_TRUE(Environment::Open({.directory = directory.path()}).ok());
}
#endif

TEST(EnvironmentOpenTest, DefaultQuotaIsNinetyPercentOfWhatTheDiskCanGive) {
  TestStore store(EnvironmentOptions{});
  const uint64_t free_bytes = *store.environment().DiskFree();
  const uint64_t quota_bytes = store.environment().Usage().quota_bytes;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // A sanitizer's shadow may leave room for less.
  EXPECT_EQ(store.environment().Usage().map_size_bytes, uint64_t{1} << 40);
#endif
  const uint64_t want = std::min<uint64_t>(free_bytes / 10 * 9, uint64_t{1} << 40);
  EXPECT_NEAR(static_cast<double>(quota_bytes), static_cast<double>(want), 0.02 * want);
}

TEST(EnvironmentOpenTest, NoDescriptorLeaksOrIsInherited) {
  TemporaryDirectory directory;
  OpenStatus(directory.path()).IgnoreError();
  const size_t before = DescriptorCount();
  for (int i = 0; i < 3; ++i) {
    auto environment = Environment::Open(SmallOptions(directory.path()));
    ASSERT_TRUE(environment.ok());
    EXPECT_EQ(OpenStatus(directory.path()).code(), Code::kUnavailable);
    int ours = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const std::string target = std::filesystem::read_symlink(entry, gone).string();
      if (target.find(directory.path()) == std::string::npos) continue;
      ++ours;
      const int flags = fcntl(std::stoi(entry.path().filename().string()), F_GETFD);
      EXPECT_NE(flags & FD_CLOEXEC, 0) << target;
    }
    EXPECT_GE(ours, 3);
  }
  TemporaryDirectory text;
  WriteFile(text.File("store.mdb"), std::string(10000, 'x'));
  OpenStatus(text.path()).IgnoreError();
  EXPECT_EQ(DescriptorCount(), before);
}

TEST(EnvironmentOpenTest, ReaderSlotsFollowTheOptionNotTheOldLockFile) {
  TestStore store;
  store.Close();
  store.options().reader_slots_max = 1;
  store.Open();
  const ReadTransaction read = store.BeginRead();
  EXPECT_EQ(store.environment().BeginRead().status().code(), Code::kResourceExhausted);
}

TEST(EnvironmentOpenTest, SlotsOfDeadProcessesAreFreed) {
  TestStore store;
  EXPECT_EQ(*store.environment().CheckReaders(), 0);
  ExpectInChild([&]() -> std::string {
    MDB_env* env = nullptr;
    MDB_txn* txn = nullptr;
    mdb_env_create(&env);
    if (mdb_env_open(env, store.File("store.mdb").c_str(), MDB_NOSUBDIR | MDB_RDONLY, 0) != 0 ||
        mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn) != 0) {
      return "cannot read as a second process";
    }
    _exit(0);
  });
  EXPECT_EQ(*store.environment().CheckReaders(), 1);
}

TEST(EnvironmentOpenTest, BadOptionsAreNamed) {
  TemporaryDirectory directory;
  EnvironmentOptions options = SmallOptions(directory.path());
  options.reader_slots_max = 0;
  EXPECT_THAT(Environment::Open(options).status().ToString(), HasSubstr("reader_slots_max"));
  options = SmallOptions(directory.path());
  options.map_size_bytes = 1000;
  EXPECT_THAT(Environment::Open(options).status().ToString(), HasSubstr("map_size_bytes"));
}

}  // namespace
}  // namespace millrace::storage
