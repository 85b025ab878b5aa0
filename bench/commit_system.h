#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace millrace {

// What is committed: 16 bytes of key, 100 of value. Value; views.
struct CommitRecord {
  std::string_view key;
  std::string_view value;
};
inline constexpr size_t kCommitKeyBytes = 16;
inline constexpr size_t kCommitValueBytes = 100;

// One client that does not wait for each commit: it has up to so many outstanding, or collects so
// many into a batch, whatever the system offers. Owned by one thread.
class CommitStream {
 public:
  virtual ~CommitStream() = default;
  // Commits a record; it may be on its way when this returns.
  virtual absl::Status Add(const CommitRecord& record) = 0;
  // Waits until all are durable.
  virtual absl::Status Finish() = 0;
};

// A system under test, open on a directory of its own. Thread-safe.
class CommitSystem {
 public:
  virtual ~CommitSystem() = default;
  // Commits one record by itself; durable when it returns.
  virtual absl::Status Commit(const CommitRecord& record) = 0;
  // Null if the system takes one at a time only.
  virtual std::unique_ptr<CommitStream> NewStream(size_t outstanding_max) { return nullptr; }
  // Waits until everything committed is where it stays, for systems that commit to a log first.
  virtual absl::Status Settle() { return absl::OkStatus(); }
  // After all commits: OK if every one of these records is there. DataLoss names the first that is
  // not.
  virtual absl::Status Check(absl::Span<const CommitRecord> records) = 0;
};

// A stream of a system that commits batches: collects records, and hands them over when there are
// enough. Owned by one thread.
class BatchStream final : public CommitStream {
 public:
  using CommitAll = absl::AnyInvocable<absl::Status(absl::Span<const CommitRecord>)>;

  BatchStream(size_t records_max, CommitAll commit_all);
  absl::Status Add(const CommitRecord& record) override;
  absl::Status Finish() override;

 private:
  const size_t records_max_;
  CommitAll commit_all_;
  std::vector<std::string> copies_;  // Key and value, one behind the other.
};

// What Check answers: DataLoss.
absl::Status MissingRecord(const char* system, const CommitRecord& record);

// The systems, each in a file, and the rivals in a target, of its own. All open in an empty
// directory, for at most so many commits.
using OpenedSystem = absl::StatusOr<std::unique_ptr<CommitSystem>>;
OpenedSystem OpenLimit(const std::string& directory, size_t commits_max);
OpenedSystem OpenPrototype(const std::string& directory, size_t commits_max);
OpenedSystem OpenQueueOnly(const std::string& directory, size_t commits_max);
OpenedSystem OpenMillrace(const std::string& directory, size_t commits_max);
OpenedSystem OpenMillraceUnflushed(const std::string& directory, size_t commits_max);
OpenedSystem OpenMillraceWithDefaults(const std::string& directory, size_t commits_max);
OpenedSystem OpenLmdb(const std::string& directory, size_t commits_max);
OpenedSystem OpenLmdbGroup(const std::string& directory, size_t commits_max);
OpenedSystem OpenLeveldb(const std::string& directory, size_t commits_max);
OpenedSystem OpenRocksdb(const std::string& directory, size_t commits_max);
OpenedSystem OpenSqlite(const std::string& directory, size_t commits_max);

}  // namespace millrace
