#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "millrace/storage/file_system.h"

namespace millrace::testing {

// A file system in memory that knows, beside what programs see, what a power loss would leave: file
// contents up to the last Sync, names up to the last SyncDirectory. Dropping the objects that use
// it and going on with it is a process crash; PowerLoss is a power loss. Thread-safe. It outlives
// its files; a file opened before a power loss answers EIO after it.
class PowerLossFileSystem final : public storage::FileSystem {
 public:
  // Only the root directory "/" exists.
  PowerLossFileSystem();
  ~PowerLossFileSystem() override;

  // What a disk holds: the contents of each file by its path; none of a directory.
  using Image = std::map<std::string, std::optional<std::string>>;
  // What a power loss would leave now. What was not synced is, by the seed: lost; or kept up to
  // some call; or kept call by call at random. Writes may be kept in part, by sectors of 512 bytes.
  // The same seed gives the same image.
  Image ImageAfterPowerLoss(uint64_t seed) const;
  // Makes it so.
  void PowerLoss(uint64_t seed);

  // Makes Exchange answer that it is not supported.
  void set_cannot_exchange(bool cannot);

  // Makes Sync and SyncDirectory do nothing and say OK: the control that shows that a test of
  // durability can fail.
  void set_sync_lies(bool lies);

  // The at-th Sync of a file from now on (counted from 1; 0: none) fails with EIO, and what it
  // should have made durable never will be, whatever is synced later: so does Linux when writing
  // back fails.
  void FailSync(int64_t at);

  // Contents of a file as programs see it; empty if there is none. To look at, and to damage:
  // what is set is durable at once.
  std::string Contents(const std::string& path) const;
  void SetContents(const std::string& path, std::string contents);
  // Copies every file and directory of `other`, as programs see them, durably.
  void CopyFrom(const PowerLossFileSystem& other);

  // What the file system calls of LMDB do, for replaying them (see io_trace.h). `file` is one of
  // this file system's.
  // A write that is durable once it has ended: begins as one that is not.
  void MakeLastWriteDurable(storage::File& file);
  void Truncate(storage::File& file, uint64_t size);
  // A sync makes durable what was written before it began. Pass on what BeginSync returned.
  uint64_t BeginSync(storage::File& file);
  void EndSync(storage::File& file, uint64_t begun);

  int RawOpen(const std::string& path, storage::OpenMode mode,
              std::unique_ptr<storage::File>* file) override;
  int RawRename(const std::string& from, const std::string& to) override;
  int RawExchange(const std::string& one, const std::string& other) override;
  int RawRemove(const std::string& path) override;
  int RawList(const std::string& directory, std::vector<std::string>* names) override;
  int RawCreateDirectory(const std::string& path) override;
  int RawSyncDirectory(const std::string& path) override;

 private:
  class MemoryFile;
  // A write, or a change of the size to `offset`.
  struct CachedWrite {
    uint64_t number = 0;  // Rises with each call on the file.
    uint64_t offset = 0;
    std::string data;
    bool truncates = false;
    bool durable = false;  // On the disk already, in front of what precedes it here.
  };
  // A file or directory, whatever its names.
  struct Node {
    bool is_directory = false;
    std::string seen;
    std::string durable;
    std::vector<CachedWrite> unsynced;
    uint64_t call_count = 0;
  };
  // A change of names. `to` is the name that `node` gets (none if empty); `from` goes, or is what
  // `exchanged` gets.
  struct NameChange {
    std::string from;
    std::string to;
    Node* node = nullptr;
    Node* exchanged = nullptr;
  };
  using Names = std::map<std::string, Node*>;

  Node* Find(const std::string& path) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static Node* NodeOf(storage::File& file);
  Node* MakeNode() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Change(NameChange change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void ApplyChange(const NameChange& change, Names* names);

  mutable absl::Mutex mutex_;
  bool cannot_exchange_ ABSL_GUARDED_BY(mutex_) = false;
  bool sync_lies_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t syncs_to_failure_ ABSL_GUARDED_BY(mutex_) = 0;  // 0: none will fail.
  uint64_t life_ ABSL_GUARDED_BY(mutex_) = 0;             // Counts power losses.
  std::vector<std::unique_ptr<Node>> nodes_ ABSL_GUARDED_BY(mutex_);
  Names seen_ ABSL_GUARDED_BY(mutex_);
  Names durable_ ABSL_GUARDED_BY(mutex_);
  std::vector<NameChange> unsynced_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace millrace::testing
