#include "millrace/storage/environment.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/testing/temporary_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lmdb.h>

namespace millrace::storage {
namespace {

using ::millrace::testing::TemporaryDirectory;
using ::testing::HasSubstr;

EnvironmentOptions OptionsFor(const std::string& directory) {
  EnvironmentOptions options;
  options.directory = directory;
  options.map_size_bytes = uint64_t{1} << 32;
  options.quota_bytes = uint64_t{1} << 30;
  return options;
}

std::unique_ptr<Environment> OpenOrDie(const EnvironmentOptions& options) {
  absl::StatusOr<std::unique_ptr<Environment>> environment = Environment::Open(options);
  EXPECT_TRUE(environment.ok()) << environment.status();
  return *std::move(environment);
}

std::string Contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

TEST(EnvironmentTest, CommittedRowsAreReadAfterReopening) {
  TemporaryDirectory directory;
  {
    std::unique_ptr<Environment> environment = OpenOrDie(OptionsFor(directory.path()));
    absl::StatusOr<WritePermit> permit = environment->TakeWritePermit();
    ASSERT_TRUE(permit.ok());
    absl::StatusOr<WriteTransaction> write = environment->BeginWrite(*permit);
    ASSERT_TRUE(write.ok()) << write.status();
    ASSERT_TRUE(write->Put(TreeId::kRecords, "a", "1").ok());
    absl::StatusOr<absl::Span<char>> room = write->Reserve(TreeId::kRecords, "b", 3);
    ASSERT_TRUE(room.ok());
    std::string("two").copy(room->data(), 3);
    ASSERT_TRUE(write->Append(TreeId::kRecords, "c", "3").ok());
    ASSERT_EQ(*write->Delete(TreeId::kRecords, "a"), true);
    ASSERT_EQ(*write->Delete(TreeId::kRecords, "a"), false);
    ASSERT_TRUE(write->Commit().ok());
  }
  std::unique_ptr<Environment> environment = OpenOrDie(OptionsFor(directory.path()));
  absl::StatusOr<ReadTransaction> read = environment->BeginRead();
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read->Get(TreeId::kRecords, "a"), std::nullopt);
  EXPECT_EQ(*read->Get(TreeId::kRecords, "b"), "two");
  std::string seen;
  Cursor cursor = read->NewCursor(TreeId::kRecords);
  for (cursor.Seek(""); cursor.Valid(); cursor.Next()) {
    seen += std::string(cursor.key()) + "=" + std::string(cursor.value()) + " ";
  }
  EXPECT_TRUE(cursor.status().ok());
  EXPECT_EQ(seen, "b=two c=3 ");
}

TEST(EnvironmentTest, SecondOpenNamesTheOwnerAndLeavesTheFileAlone) {
  TemporaryDirectory directory;
  std::unique_ptr<Environment> environment = OpenOrDie(OptionsFor(directory.path()));
  const std::string before = Contents(directory.File("store.mdb"));
  absl::StatusOr<std::unique_ptr<Environment>> second =
      Environment::Open(OptionsFor(directory.path()));
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(std::string(*second.status().GetPayload("millrace/owner-pid")),
            std::to_string(getpid()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(std::to_string(getpid())));
  EXPECT_EQ(Contents(directory.File("store.mdb")), before);
}

}  // namespace
}  // namespace millrace::storage
