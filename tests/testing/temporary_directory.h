#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

namespace millrace::testing {

// A fresh directory that is removed with all that is in it. Thread-compatible.
class TemporaryDirectory {
 public:
  TemporaryDirectory() : TemporaryDirectory(::testing::TempDir()) {}
  // In memory, where the system has such a place: for tests that sync thousands of times and do not
  // ask what a disk makes of it.
  static TemporaryDirectory InMemory() {
    constexpr char kMemory[] = "/dev/shm/";
    return TemporaryDirectory(access(kMemory, W_OK) == 0 ? kMemory : ::testing::TempDir());
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  // `parent` ends with a slash.
  explicit TemporaryDirectory(const std::string& parent) {
    std::string pattern = parent + "millrace-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr) << pattern;
    path_ = pattern;
  }

  std::string path_;
};

}  // namespace millrace::testing
