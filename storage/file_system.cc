#include "millrace/storage/file_system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "absl/strings/str_cat.h"
#include <dirent.h>

#include "millrace/storage/row_key.h"

namespace millrace::storage {
namespace {

// Repeats `call` (0, a count, or -errno) while a signal interrupts it.
template <typename Call>
auto Uninterrupted(Call call) {
  auto result = call();
  while (result == -EINTR) result = call();
  return result;
}

class SystemFile final : public File {
 public:
  SystemFile(std::string path, int descriptor) : File(std::move(path)), descriptor_(descriptor) {}
  ~SystemFile() override { close(descriptor_); }

  int64_t RawWrite(uint64_t offset, const char* data, size_t size) override {
    const ssize_t written = pwrite(descriptor_, data, size, static_cast<off_t>(offset));
    return written < 0 ? -errno : written;
  }

  int64_t RawRead(uint64_t offset, char* out, size_t size) override {
    const ssize_t got = pread(descriptor_, out, size, static_cast<off_t>(offset));
    return got < 0 ? -errno : got;
  }

  int RawSync() override { return fdatasync(descriptor_) == 0 ? 0 : -errno; }

  int64_t RawSize() override {
    struct stat info;
    return fstat(descriptor_, &info) == 0 ? info.st_size : -errno;
  }

 private:
  const int descriptor_;
};

class PosixFileSystem final : public FileSystem {
 public:
  int RawOpen(const std::string& path, OpenMode mode, std::unique_ptr<File>* file) override {
    int flags = O_CLOEXEC;
    if (mode == OpenMode::kRead) flags |= O_RDONLY;
    if (mode == OpenMode::kReadWrite) flags |= O_RDWR;
    if (mode == OpenMode::kCreateNew) flags |= O_RDWR | O_CREAT | O_EXCL;
    const int descriptor = open(path.c_str(), flags, 0644);
    if (descriptor < 0) return -errno;
    *file = std::make_unique<SystemFile>(path, descriptor);
    return 0;
  }

  int RawRename(const std::string& from, const std::string& to) override {
    return rename(from.c_str(), to.c_str()) == 0 ? 0 : -errno;
  }

  int RawExchange(const std::string& one, const std::string& other) override {
    if (renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0) return 0;
    return errno == EINVAL || errno == ENOSYS ? -EOPNOTSUPP : -errno;
  }

  int RawRemove(const std::string& path) override { return unlink(path.c_str()) == 0 ? 0 : -errno; }

  int RawList(const std::string& directory, std::vector<std::string>* names) override {
    DIR* stream = opendir(directory.c_str());
    if (stream == nullptr) return -errno;
    errno = 0;
    // readdir is safe here: the stream is this call's own.
    while (const dirent* entry = readdir(stream)) {  // NOLINT(concurrency-mt-unsafe)
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names->emplace_back(name);
      errno = 0;
    }
    const int error = errno;
    closedir(stream);
    return -error;
  }

  int RawCreateDirectory(const std::string& path) override {
    return mkdir(path.c_str(), 0755) == 0 || errno == EEXIST ? 0 : -errno;
  }

  int RawSyncDirectory(const std::string& path) override {
    const int descriptor = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return -errno;
    const int error = fsync(descriptor) == 0 ? 0 : -errno;
    close(descriptor);
    return error;
  }
};

absl::Status Answer(std::string_view operation, std::string_view path, int64_t result) {
  if (result >= 0) return absl::OkStatus();
  return FileError(operation, path, static_cast<int>(-result));
}

}  // namespace

absl::Status File::Write(uint64_t offset, std::string_view data) {
  while (!data.empty()) {
    const int64_t written = RawWrite(offset, data.data(), data.size());
    if (written == -EINTR) continue;
    // No system call writes nothing without a reason; going on could go on for ever.
    if (written <= 0)
      return FileError("write", path_, written == 0 ? EIO : static_cast<int>(-written));
    offset += static_cast<uint64_t>(written);
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> File::Read(uint64_t offset, size_t size, char* out) {
  size_t done = 0;
  while (done < size) {
    const int64_t got = RawRead(offset + done, out + done, size - done);
    if (got == -EINTR) continue;
    if (got < 0) return FileError("read", path_, static_cast<int>(-got));
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

absl::Status File::Sync() {
  return Answer("sync", path_, Uninterrupted([this] { return RawSync(); }));
}

absl::StatusOr<uint64_t> File::Size() {
  const int64_t size = RawSize();
  if (size < 0) return FileError("take the size of", path_, static_cast<int>(-size));
  return static_cast<uint64_t>(size);
}

absl::StatusOr<std::unique_ptr<File>> FileSystem::Open(const std::string& path, OpenMode mode) {
  std::unique_ptr<File> file;
  const int result = Uninterrupted([&] { return RawOpen(path, mode, &file); });
  if (result < 0) return FileError(mode == OpenMode::kCreateNew ? "create" : "open", path, -result);
  return file;
}

absl::Status FileSystem::Rename(const std::string& from, const std::string& to) {
  const int result = Uninterrupted([&] { return RawRename(from, to); });
  return Answer("rename", from + " to " + to, result);
}

absl::Status FileSystem::Exchange(const std::string& one, const std::string& other) {
  const int result = Uninterrupted([&] { return RawExchange(one, other); });
  return Answer("exchange", one + " with " + other, result);
}

absl::Status FileSystem::Remove(const std::string& path) {
  return Answer("remove", path, Uninterrupted([&] { return RawRemove(path); }));
}

absl::StatusOr<std::vector<std::string>> FileSystem::List(const std::string& directory) {
  std::vector<std::string> names;
  const int result = Uninterrupted([&] {
    names.clear();
    return RawList(directory, &names);
  });
  if (result < 0) return FileError("list", directory, -result);
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status FileSystem::CreateDirectory(const std::string& path) {
  return Answer("create directory", path, Uninterrupted([&] { return RawCreateDirectory(path); }));
}

absl::Status FileSystem::SyncDirectory(const std::string& path) {
  return Answer("sync directory", path, Uninterrupted([&] { return RawSyncDirectory(path); }));
}

FileSystem& SystemFileSystem() {
  static auto& system = *new PosixFileSystem;
  return system;
}

absl::Status FileError(std::string_view operation, std::string_view path, int error) {
  absl::StatusCode code = absl::ErrnoToStatusCode(error);
  if (code == absl::StatusCode::kUnknown) code = absl::StatusCode::kInternal;
  return absl::Status(code, absl::StrCat("cannot ", ToAbsl(operation), " ", ToAbsl(path), ": ",
                                         std::generic_category().message(error)));
}

std::string JoinPath(std::string_view directory, std::string_view name) {
  std::string path(directory);
  if (!path.empty() && path.back() != '/') path.push_back('/');
  path.append(name);
  return path;
}

std::string ParentDirectory(std::string_view path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(slash == 0 ? "/" : path.substr(0, slash));
}

}  // namespace millrace::storage
