#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace millrace::storage {

// How a file is opened.
enum class OpenMode {
  kRead,       // It must exist.
  kReadWrite,  // It must exist.
  kCreateNew,  // It must not exist; read and write.
};

// An open file. Everything is addressed by offset; there is no position. Destruction closes it
// without syncing. Thread-compatible: Write and Sync from one thread at a time.
//
// The public calls finish what they begin: they go on after EINTR and after a short transfer, and
// their errors name operation, path and cause. An implementation supplies the four `Raw` calls, one
// attempt each; a fake may answer short or fail there, so the code above is tested against both.
class File {
 public:
  virtual ~File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // Writes all of `data` at `offset`, growing the file if need be. On an error any part of it may
  // have been written.
  absl::Status Write(uint64_t offset, std::string_view data);
  // Reads up to `size` bytes into `out` and returns how many; fewer only at the end of the file.
  absl::StatusOr<size_t> Read(uint64_t offset, size_t size, char* out);
  // fdatasync: what was written before is durable afterwards, and the size if it grew. After a
  // failure nothing is known about what was written since the last success; do not try again.
  absl::Status Sync();
  // Bytes.
  absl::StatusOr<uint64_t> Size();
  const std::string& path() const { return path_; }

  // Bytes transferred, or -errno.
  virtual int64_t RawWrite(uint64_t offset, const char* data, size_t size) = 0;
  virtual int64_t RawRead(uint64_t offset, char* out, size_t size) = 0;
  // 0 or -errno.
  virtual int RawSync() = 0;
  // Bytes or -errno.
  virtual int64_t RawSize() = 0;

 protected:
  explicit File(std::string path) : path_(std::move(path)) {}

 private:
  const std::string path_;
};

// The operations on names that storage needs. A created, renamed or removed name is durable only
// after SyncDirectory of its directory. Thread-safe. The `Raw` calls are for implementations, as in
// File; they answer 0 or -errno.
class FileSystem {
 public:
  FileSystem() = default;
  virtual ~FileSystem() = default;
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;

  // NotFound if it should exist and does not, AlreadyExists the other way round.
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode);
  // Atomically gives `from` the name `to`, whose former file is gone afterwards.
  absl::Status Rename(const std::string& from, const std::string& to);
  // Atomically swaps the files of two names. Unimplemented where the file system cannot.
  absl::Status Exchange(const std::string& one, const std::string& other);
  // NotFound if there is no such file.
  absl::Status Remove(const std::string& path);
  // Names (without the directory) of what is in `directory`, sorted; neither "." nor "..".
  absl::StatusOr<std::vector<std::string>> List(const std::string& directory);
  // OK if the directory is there already. Not its parents.
  absl::Status CreateDirectory(const std::string& path);
  absl::Status SyncDirectory(const std::string& path);

  virtual int RawOpen(const std::string& path, OpenMode mode, std::unique_ptr<File>* file) = 0;
  virtual int RawRename(const std::string& from, const std::string& to) = 0;
  // -EOPNOTSUPP where the file system cannot.
  virtual int RawExchange(const std::string& one, const std::string& other) = 0;
  virtual int RawRemove(const std::string& path) = 0;
  virtual int RawList(const std::string& directory, std::vector<std::string>* names) = 0;
  virtual int RawCreateDirectory(const std::string& path) = 0;
  virtual int RawSyncDirectory(const std::string& path) = 0;
};

// The machine's own file system. Lives until the process ends.
FileSystem& SystemFileSystem();

// "cannot <operation> <path>: <text of error>", with the code that Abseil gives the errno:
// NotFound, AlreadyExists, PermissionDenied, ResourceExhausted for a full disk or quota, ...;
// Internal where it has none (EIO).
absl::Status FileError(std::string_view operation, std::string_view path, int error);

// `directory`/`name`.
std::string JoinPath(std::string_view directory, std::string_view name);
// What stands before the last slash; "." if there is none, "/" for a file of the root.
std::string ParentDirectory(std::string_view path);

}  // namespace millrace::storage
