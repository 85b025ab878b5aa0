#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/storage/environment.h"
#include "millrace/storage/record.h"
#include "millrace/storage/verify.h"

namespace millrace::testing {

inline void CopyStore(const std::string& from, const std::string& to) {
  std::filesystem::remove_all(to);
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
}

// A store as a test built it, and copies of it whose rows are changed behind the engine's back, as
// LMDB keeps them faithfully. Thread-compatible.
class ChangedStore {
 protected:
  // Where the test builds the store; closed before a copy is made.
  std::string kept() const { return kept_.File("store"); }

  // Where a copy of it is in which `change` was committed; until the next call.
  std::string Changed(absl::FunctionRef<void(storage::WriteTransaction&)> change) {
    const std::string copy = directory_.File("store");
    CopyStore(kept(), copy);
    auto environment = storage::Environment::Open(
        {.directory = copy, .create_if_missing = false, .quota_bytes = uint64_t{1} << 30});
    EXPECT_TRUE(environment.ok()) << environment.status();
    const auto permit = (*environment)->TakeWritePermit();
    auto write = (*environment)->BeginWrite(*permit);
    change(*write);
    EXPECT_TRUE(write->Commit().ok());
    return copy;
  }

  // The damage that verification finds in such a copy, one a line.
  std::string DamageOf(absl::FunctionRef<void(storage::WriteTransaction&)> change) {
    const absl::StatusOr<storage::VerifyReport> report = storage::VerifyStore(Changed(change));
    if (!report.ok()) return report.status().ToString();
    std::string all;
    for (const std::string& damage : report->damage) absl::StrAppend(&all, damage, "\n");
    return all;
  }

  static std::string RowOf(storage::WriteTransaction& write, storage::TreeId tree,
                           std::string_view key) {
    const auto row = write.Get(tree, key);
    EXPECT_TRUE(row.ok() && row->has_value()) << std::string(key);
    return row.ok() && row->has_value() ? std::string(**row) : "";
  }
  static void Put(storage::WriteTransaction& write, storage::TreeId tree, std::string_view key,
                  std::string_view value) {
    EXPECT_TRUE(write.Put(tree, key, value).ok());
  }
  // Of a row that must be there.
  static void Delete(storage::WriteTransaction& write, storage::TreeId tree, std::string_view key) {
    const absl::StatusOr<bool> deleted = write.Delete(tree, key);
    EXPECT_TRUE(deleted.ok() && *deleted);
  }
  static void PutRecord(storage::WriteTransaction& write, storage::TreeId tree,
                        const std::string& key, const storage::RecordView& record) {
    std::string value(storage::EncodedRecordSize(record.payload.size()), '\0');
    storage::EncodeRecord(key, record, value.data());
    Put(write, tree, key, value);
  }
  // Without the tree's byte.
  static std::string RecordKey(storage::CollectionId collection, std::string_view id) {
    return storage::EncodeRowKey({.collection = collection, .id = id}).substr(1);
  }

 private:
  TemporaryDirectory kept_;
  TemporaryDirectory directory_;
};

}  // namespace millrace::testing
