#pragma once

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "gtest/gtest.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/storage/environment.h"

namespace millrace::storage {

inline EnvironmentOptions SmallOptions(const std::string& directory) {
  EnvironmentOptions options;
  options.directory = directory;
  options.map_size_bytes = uint64_t{1} << 32;
  options.quota_bytes = uint64_t{1} << 30;
  return options;
}

// An open environment with its permit, in a directory of its own. Thread-compatible.
class TestStore {
 public:
  TestStore()
      : TestStore(EnvironmentOptions{.map_size_bytes = uint64_t{1} << 32,
                                     .quota_bytes = uint64_t{1} << 30}) {}
  // Sets the directory in `options`.
  explicit TestStore(EnvironmentOptions options) : options_(std::move(options)) {
    options_.directory = directory_.path();
    Open();
  }

  void Open() {
    absl::StatusOr<std::unique_ptr<Environment>> opened = Environment::Open(options_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    environment_ = *std::move(opened);
    absl::StatusOr<WritePermit> permit = environment_->TakeWritePermit();
    ASSERT_TRUE(permit.ok()) << permit.status();
    permit_ = std::make_unique<WritePermit>(*std::move(permit));
  }
  void Close() { environment_.reset(); }

  WriteTransaction BeginWrite() {
    absl::StatusOr<WriteTransaction> write = environment_->BeginWrite(*permit_);
    EXPECT_TRUE(write.ok()) << write.status();
    return *std::move(write);
  }
  ReadTransaction BeginRead() {
    absl::StatusOr<ReadTransaction> read = environment_->BeginRead();
    EXPECT_TRUE(read.ok()) << read.status();
    return *std::move(read);
  }
  // One row in a transaction of its own.
  absl::Status Put(std::string_view key, std::string_view value) {
    absl::StatusOr<WriteTransaction> write = environment_->BeginWrite(*permit_);
    if (!write.ok()) return write.status();
    if (absl::Status status = write->Put(TreeId::kRecords, key, value); !status.ok()) return status;
    return write->Commit();
  }
  // The value of a row, "(none)", or the error.
  std::string Get(std::string_view key) {
    absl::StatusOr<ReadTransaction> read = environment_->BeginRead();
    if (!read.ok()) return read.status().ToString();
    const auto value = read->Get(TreeId::kRecords, key);
    if (!value.ok()) return value.status().ToString();
    return value->has_value() ? std::string(**value) : "(none)";
  }

  Environment& environment() { return *environment_; }
  const WritePermit& permit() { return *permit_; }
  EnvironmentOptions& options() { return options_; }
  std::string File(const std::string& name) const { return directory_.File(name); }
  const std::string& path() const { return directory_.path(); }

 private:
  testing::TemporaryDirectory directory_;
  EnvironmentOptions options_;
  std::unique_ptr<Environment> environment_;
  std::unique_ptr<WritePermit> permit_;
};

inline std::string Contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace millrace::storage
