#pragma once

#include <string>

#include "gtest/gtest.h"

#include "millrace/storage/verify.h"

namespace millrace::testing {

// Fails the test unless the store in `directory`, which must not be open, is sound.
inline void ExpectSound(const std::string& directory,
                        storage::FileSystem& files = storage::SystemFileSystem()) {
  const absl::StatusOr<storage::VerifyReport> report = storage::VerifyStore(directory, files);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->sound()) << report->damage_count
                               << " damages, the first: " << report->damage.front();
}

}  // namespace millrace::testing
