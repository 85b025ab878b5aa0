#include "millrace/storage/store_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <dirent.h>

#include "millrace/storage/file_system.h"
#include "millrace/storage/lmdb_status.h"

namespace millrace::storage {
namespace {

absl::StatusOr<std::vector<std::string>> List(const std::string& directory) {
  DIR* const stream = opendir(directory.c_str());
  if (stream == nullptr) return LmdbStatus(errno, "opening the store's directory", directory);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(stream)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  const int error = errno;
  closedir(stream);
  if (error != 0) return LmdbStatus(error, "listing the store's directory", directory);
  return names;
}

bool IsOurs(const std::string& name) {
  // "lost+found" is what the root of a fresh file system holds.
  return name == kLockFileName || name == kLogDirectoryName || name == kRunsDirectoryName ||
         name == "lost+found" || absl::StartsWith(name, kDatabaseFileName);
}

std::string ParentOf(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status CreateDirectory(const std::string& directory) {
  if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return LmdbStatus(errno, "creating the store's directory", directory);
  }
  return SystemFileSystem().SyncDirectory(ParentOf(directory));
}

}  // namespace

absl::Status PrepareStoreDirectory(const std::string& directory, bool create_if_missing) {
  if (directory.empty()) return absl::InvalidArgumentError("the store's directory has no name");
  struct stat file;
  if (stat(directory.c_str(), &file) != 0) {
    if (errno != ENOENT) return LmdbStatus(errno, "opening the store's directory", directory);
    if (!create_if_missing) {
      return absl::NotFoundError(absl::StrCat("opening the store ", directory,
                                              ": no such directory; create it, or ask for it"));
    }
    return CreateDirectory(directory);
  }
  if (!S_ISDIR(file.st_mode)) {
    return LmdbStatus(ENOTDIR, "opening the store's directory", directory);
  }
  const absl::StatusOr<std::vector<std::string>> names = List(directory);
  if (!names.ok()) return names.status();
  const auto has = [&](const std::string& name) {
    return std::find(names->begin(), names->end(), name) != names->end();
  };
  if (has(kDatabaseFileName)) return absl::OkStatus();
  for (const std::string& name : *names) {
    if (IsOurs(name)) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("opening the store ", directory, ": it is no store and holds other files, ",
                     name, " among them; name a store's directory, or an empty one"));
  }
  if (has(kLogDirectoryName)) {
    const std::string log = absl::StrCat(directory, "/", kLogDirectoryName);
    const absl::StatusOr<std::vector<std::string>> files = List(log);
    if (!files.ok()) return files.status();
    if (!files->empty()) {
      return absl::DataLossError(absl::StrCat("opening the store ", directory, ": ", log,
                                              " holds a log but ", kDatabaseFileName,
                                              " is missing; restore it from a backup"));
    }
  }
  if (create_if_missing) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("opening the store ", directory, ": the directory holds no store"));
}

absl::StatusOr<uint64_t> DiskFreeBytes(const std::string& path) {
  struct statvfs disk;
  if (statvfs(path.c_str(), &disk) != 0) return LmdbStatus(errno, "examining the disk of", path);
  return static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
}

}  // namespace millrace::storage
