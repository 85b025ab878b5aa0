#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/file_system.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// Sorted runs: the files an index build sorts its entries into, and a build's resume point while it
// reads its source. A run belongs to one task and is never changed once it is written.
//
// A file is a sequence of blocks of kRunBlockBytes (the last one may be shorter). All integers are
// little endian.
//
//    0  u64  checksum     XXH3-64 of bytes [8, length), seeded with task, run and block number
//    8  u32  length       bytes of the block, this header included
//   12  u32  entry count
//   16       per entry, three ordered integers and a text: how many bytes it shares with the key
//            before it (0 for the first of the block), how many follow, the version; those bytes
inline constexpr size_t kRunBlockBytes = size_t{64} << 10;
inline constexpr size_t kRunBlockHeaderBytes = 16;
inline constexpr size_t kRunKeyBytesMax = 1024;

// What a run holds: a key and the version of the record it was read from. The same key may come
// with several versions. Value; views into the block that was read.
struct RunEntry {
  std::string_view key;
  Version version = kNoVersion;
  friend bool operator==(const RunEntry&, const RunEntry&) = default;
};
// Key ascending, then version ascending.
inline bool operator<(const RunEntry& one, const RunEntry& other) {
  const int order = one.key.compare(other.key);
  return order != 0 ? order < 0 : one.version < other.version;
}

// Which file: the build's task, and the run's number in it. Value.
struct RunId {
  uint64_t task = 0;
  uint64_t number = 0;
  friend bool operator==(const RunId&, const RunId&) = default;
};
// What the resume point remembers of a run. Value.
struct RunInfo {
  uint64_t number = 0;
  uint64_t entry_count = 0;
  uint64_t block_count = 0;
  friend bool operator==(const RunInfo&, const RunInfo&) = default;
};

// Whether a status (DataLoss, naming the file) says that a run is missing or bad: what was sorted
// is worthless, and the build reads its source again. Other errors (a full disk, EIO) leave the
// runs as they are.
bool IsBadRun(const absl::Status& status);

// The directory of the runs. Thread-compatible.
class RunDirectory {
 public:
  RunDirectory(FileSystem& files, std::string path) : files_(files), path_(std::move(path)) {}

  // Makes it, if it is not there.
  absl::Status Prepare();
  // OK also if there is no such run.
  absl::Status Remove(const RunId& run);
  // Every run that is there, by task and number. Other files are not looked at.
  absl::StatusOr<std::vector<RunId>> List();
  std::string PathOf(const RunId& run) const;
  FileSystem& files() { return files_; }

 private:
  FileSystem& files_;
  const std::string path_;
};

// Writes one run. Add in order, then Finish; destroyed before that it leaves a file behind that
// nothing names. Thread-compatible.
class RunWriter {
 public:
  // Replaces what an earlier life may have left under the name.
  static absl::StatusOr<RunWriter> Create(RunDirectory& directory, const RunId& run);

  // `entry` is not below the one before it.
  absl::Status Add(const RunEntry& entry);
  // What was added is in the file. With `sync` it is durable, its name included.
  absl::StatusOr<RunInfo> Finish(bool sync);

 private:
  RunWriter(RunDirectory& directory, const RunId& run, std::unique_ptr<File> file);
  absl::Status WriteBlock();

  RunDirectory* directory_;
  RunId run_;
  RunInfo info_;
  std::unique_ptr<File> file_;
  std::string block_;
  uint32_t block_entry_count_ = 0;
  std::string last_key_;
};

// Reads one run, block by block. A bad run if the file is missing, of another run, cut short or
// damaged anywhere that was looked at. Thread-compatible.
class RunReader {
 public:
  // At no entry yet.
  static absl::StatusOr<RunReader> Open(RunDirectory& directory, uint64_t task,
                                        const RunInfo& info);

  // To the first entry, and to the first one whose key is above `key`.
  void SeekToFirst();
  void SeekAfter(std::string_view key);
  // To the first entry of a block below RunInfo::block_count.
  void SeekToBlock(uint64_t block);
  void Next();
  // False behind the last entry, and after an error.
  bool Valid() const { return valid_; }
  const absl::Status& status() const { return status_; }
  // Require Valid(). The key's bytes end with the next move.
  RunEntry entry() const { return {key_, version_}; }

 private:
  RunReader(const RunId& run, const RunInfo& info, std::unique_ptr<File> file);
  bool LoadBlock(uint64_t number);
  bool ReadEntry();
  void Fail(absl::Status status);

  RunId run_;
  RunInfo info_;
  std::unique_ptr<File> file_;
  std::string block_;
  uint64_t block_number_ = 0;
  std::string_view rest_;      // Of the block: what was not read yet.
  uint64_t entries_left_ = 0;  // In the block, behind the current one.
  bool valid_ = false;
  std::string key_;
  Version version_ = kNoVersion;
  absl::Status status_;
};

}  // namespace millrace::storage
