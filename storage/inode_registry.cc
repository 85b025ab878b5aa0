#include "millrace/storage/inode_registry.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "millrace/storage/lmdb_status.h"
#include "millrace/storage/lock_file.h"

namespace millrace::storage {
namespace {

struct Registry {
  absl::Mutex mutex;
  std::set<std::pair<dev_t, ino_t>> files ABSL_GUARDED_BY(mutex);
};

// Never destroyed: a static environment may outlive every other static.
Registry& TheRegistry() {
  static Registry* const registry = new Registry;
  return *registry;
}

}  // namespace

absl::StatusOr<InodeRegistration> InodeRegistration::Register(const std::string& path) {
  struct stat file;
  if (stat(path.c_str(), &file) != 0) return LmdbStatus(errno, "examining", path);
  Registry& registry = TheRegistry();
  absl::MutexLock lock(&registry.mutex);
  if (!registry.files.emplace(file.st_dev, file.st_ino).second) {
    return HeldByProcess(path, getpid());
  }
  return InodeRegistration(file.st_dev, file.st_ino);
}

InodeRegistration::~InodeRegistration() {
  if (inode_ == 0) return;
  Registry& registry = TheRegistry();
  absl::MutexLock lock(&registry.mutex);
  registry.files.erase({device_, inode_});
}

}  // namespace millrace::storage
