#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include <lmdb.h>

#include "millrace/storage/environment.h"
#include "millrace/storage/file_system.h"
#include "millrace/storage/lmdb_status.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/store_directory.h"

// How an environment opens, step by step. Nothing of an existing store is changed before its lock
// is held, and nothing of a stranger's file at all.

namespace millrace::storage {
namespace {

constexpr uint64_t kMapSizeMin = uint64_t{1} << 30;
// A store that a later version made may hold more trees than we know.
constexpr unsigned kTreeCountMax = 64;

void LogAssertion(MDB_env* env, const char* message) {
  static_cast<void>(env);
  LOG(ERROR) << "LMDB gives up: " << message;  // It aborts the process next.
}

absl::Status CheckOptions(const EnvironmentOptions& options) {
  if (options.reader_slots_max < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("reader_slots_max is ", options.reader_slots_max, ", must be at least 1"));
  }
  if (options.map_size_bytes < (1 << 20)) {
    return absl::InvalidArgumentError(
        absl::StrCat("map_size_bytes is ", options.map_size_bytes, ", must be at least 1 MiB"));
  }
  return absl::OkStatus();
}

// Opens the trees, making those that are missing.
int MakeTrees(MDB_txn* txn, unsigned* trees) {
  for (size_t i = 0; i < kTreeCount; ++i) {
    const int code =
        mdb_dbi_open(txn, TreeName(static_cast<TreeId>(i)).data(), MDB_CREATE, &trees[i]);
    if (code != MDB_SUCCESS) return code;
  }
  return MDB_SUCCESS;
}

absl::Status NoStore(const std::string& path) {
  return absl::FailedPreconditionError(absl::StrCat(
      "opening ", path, ": an LMDB file, but no Millrace store; name another directory"));
}

}  // namespace

absl::Status CheckFormat(std::string_view format, std::string_view path) {
  if (ToAbsl(format) == absl::StrCat(kFormatVersion)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("opening ", ToAbsl(path), ": the store has format version ",
                   absl::Utf8SafeCHexEscape(ToAbsl(format)), ", this program reads version ",
                   kFormatVersion, "; use the program that wrote it to export it"));
}

absl::StatusOr<std::unique_ptr<Environment>> Environment::Open(const EnvironmentOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const std::string& directory = options.directory;
  absl::Status status = PrepareStoreDirectory(directory, options.create_if_missing);
  if (!status.ok()) return status;
  absl::StatusOr<LockFile> lock = LockFile::Acquire(absl::StrCat(directory, "/", kLockFileName));
  if (!lock.ok()) return lock.status();
  const std::string path = absl::StrCat(directory, "/", kDatabaseFileName);
  if (status = CreateDatabase(directory, options.create_if_missing); !status.ok()) return status;
  absl::StatusOr<InodeRegistration> registration = InodeRegistration::Register(path);
  if (!registration.ok()) return registration.status();

  std::unique_ptr<Environment> environment(
      new Environment(options, *std::move(lock), *std::move(registration)));
  if (status = environment->OpenMap(options.map_size_bytes); !status.ok()) return status;
  if (status = environment->SettleFile(); !status.ok()) return status;
  if (status = environment->CheckIsStore(); !status.ok()) return status;
  if (status = environment->SetQuota(options); !status.ok()) return status;
  if (status = environment->OpenTrees(); !status.ok()) return status;
  return environment;
}

// Makes the database file, unless it is there. It gets its name once it is whole and synced, so
// that it is never found half made, whatever ends the process or the power.
absl::Status Environment::CreateDatabase(const std::string& directory, bool create_if_missing) {
  const std::string path = absl::StrCat(directory, "/", kDatabaseFileName);
  struct stat file;
  if (stat(path.c_str(), &file) == 0) {
    if (file.st_size > 0) return absl::OkStatus();
    if (!create_if_missing) {
      return absl::NotFoundError(absl::StrCat("opening ", path, ": the file holds no store yet"));
    }
  } else if (errno != ENOENT) {
    return LmdbStatus(errno, "opening the store", path);
  }
  const std::string unfinished = absl::StrCat(path, ".new");
  FileSystem& files = SystemFileSystem();
  absl::Status status = files.Remove(unfinished);
  if (!status.ok() && !absl::IsNotFound(status)) return status;
  if (const int code = WriteEmptyStore(unfinished); code != MDB_SUCCESS) {
    return LmdbStatus(code, "creating", unfinished);
  }
  if (status = files.Rename(unfinished, path); !status.ok()) return status;
  return files.SyncDirectory(directory);
}

int Environment::WriteEmptyStore(const std::string& path) {
  MDB_env* env = nullptr;
  int code = mdb_env_create(&env);
  if (code != MDB_SUCCESS) return code;
  mdb_env_set_maxdbs(env, kTreeCountMax);
  MDB_txn* txn = nullptr;
  code = mdb_env_open(env, path.c_str(), MDB_NOSUBDIR | MDB_NOLOCK, 0644);
  if (code == MDB_SUCCESS) code = WriteTransaction::BeginTxn(env, &txn);
  unsigned trees[kTreeCount] = {};
  if (code == MDB_SUCCESS) code = MakeTrees(txn, trees);
  if (code == MDB_SUCCESS) {
    const std::string version = absl::StrCat(kFormatVersion);
    MDB_val key = {kFormatKey.size(), const_cast<char*>(kFormatKey.data())};
    MDB_val value = {version.size(), const_cast<char*>(version.data())};
    code = mdb_put(txn, trees[static_cast<size_t>(TreeId::kMeta)], &key, &value, 0);
  }
  if (code == MDB_SUCCESS) {
    code = mdb_txn_commit(txn);
  } else if (txn != nullptr) {
    mdb_txn_abort(txn);
  }
  mdb_env_close(env);
  return code;
}

absl::Status Environment::OpenMap(uint64_t map_size_bytes) {
  const uint64_t smallest = std::min(kMapSizeMin, map_size_bytes);
  int code = MDB_SUCCESS;
  for (uint64_t size = map_size_bytes; size >= smallest; size /= 2) {
    code = mdb_env_create(&env_);
    if (code != MDB_SUCCESS) break;
    mdb_env_set_mapsize(env_, size);
    mdb_env_set_maxdbs(env_, kTreeCountMax);
    mdb_env_set_maxreaders(env_, static_cast<unsigned>(reader_slots_max_) + 1);
    mdb_env_set_assert(env_, LogAssertion);
    code = mdb_env_open(env_, path_.c_str(), MDB_NOSUBDIR | MDB_NOTLS, 0644);
    if (code == MDB_SUCCESS) return absl::OkStatus();
    mdb_env_close(std::exchange(env_, nullptr));
    if (code != ENOMEM) break;
  }
  absl::Status status = LmdbStatus(code, "opening", path_);
  if (code != ENOMEM) return status;
  return absl::ResourceExhaustedError(
      absl::StrCat(status.message(), "; not even ", smallest, " bytes could be mapped"));
}

absl::Status Environment::SettleFile() {
  int descriptor = -1;
  mdb_env_get_fd(env_, &descriptor);
  // LMDB sets it on its other descriptors.
  if (fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) {
    return LmdbStatus(errno, "setting close-on-exec on", path_);
  }
  MDB_envinfo info = {};
  MDB_stat stat = {};
  mdb_env_info(env_, &info);
  mdb_env_stat(env_, &stat);
  page_bytes_ = stat.ms_psize;
  map_size_bytes_ = info.me_mapsize;
  // A page behind the end of the file would be a SIGBUS when it is read. Where LMDB freed its last
  // pages before it wrote them, that is harmless; where the file was cut short, a page of zeros
  // reads as DataLoss.
  struct stat file;
  const uint64_t wanted_bytes = (info.me_last_pgno + 1) * page_bytes_;
  if (fstat(descriptor, &file) != 0) return LmdbStatus(errno, "examining", path_);
  if (static_cast<uint64_t>(file.st_size) < wanted_bytes) {
    LOG(WARNING) << path_ << " has " << file.st_size << " bytes of " << wanted_bytes
                 << ": filling up with zeros";
    if (ftruncate(descriptor, static_cast<off_t>(wanted_bytes)) != 0) {
      return LmdbStatus(errno, "extending", path_);
    }
  }
  return CheckReaders().status();
}

absl::Status Environment::CheckIsStore() const {
  MDB_txn* txn = nullptr;
  int code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
  if (code != MDB_SUCCESS) return LmdbStatus(code, "reading", path_);
  // A handle opened here ends with the transaction.
  struct Ender {
    MDB_txn* txn;
    ~Ender() { mdb_txn_abort(txn); }
  } ender{txn};
  MDB_stat stat = {};
  mdb_env_stat(env_, &stat);
  if (stat.ms_entries == 0) return NoStore(path_);
  unsigned meta = 0;
  code = mdb_dbi_open(txn, TreeName(TreeId::kMeta).data(), 0, &meta);
  if (code == MDB_NOTFOUND || code == MDB_INCOMPATIBLE) return NoStore(path_);
  if (code != MDB_SUCCESS) return LmdbStatus(code, "opening tree meta of", path_);
  MDB_val key = {kFormatKey.size(), const_cast<char*>(kFormatKey.data())};
  MDB_val value;
  code = mdb_get(txn, meta, &key, &value);
  if (code == MDB_NOTFOUND) return NoStore(path_);
  if (code != MDB_SUCCESS) return LmdbStatus(code, "reading the format of", path_);
  return CheckFormat({static_cast<const char*>(value.mv_data), value.mv_size}, path_);
}

absl::Status Environment::OpenTrees() {
  int code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &own_read_);
  if (code != MDB_SUCCESS) return LmdbStatus(code, "reading", path_);
  mdb_txn_reset(own_read_);
  MDB_txn* txn = nullptr;
  errno = 0;
  code = WriteTransaction::BeginTxn(env_, &txn);
  if (code != MDB_SUCCESS) return WriteFailed(code, errno, "writing to");
  code = MakeTrees(txn, trees_.data());
  if (code == MDB_SUCCESS) {
    code = mdb_txn_commit(txn);
  } else {
    mdb_txn_abort(txn);
  }
  if (code != MDB_SUCCESS) return WriteFailed(code, errno, "opening the trees of");
  readers_.emplace(env_, reader_slots_max_, path_);
  Committed();
  return absl::OkStatus();
}

absl::Status Environment::SetQuota(const EnvironmentOptions& options) {
  uint64_t quota_bytes = options.quota_bytes;
  if (quota_bytes == 0) {
    const absl::StatusOr<uint64_t> free_bytes = DiskFree();
    if (!free_bytes.ok()) return free_bytes.status();
    struct stat file;
    if (stat(path_.c_str(), &file) != 0) return LmdbStatus(errno, "examining", path_);
    // What this store has already is its own.
    quota_bytes = (*free_bytes + static_cast<uint64_t>(file.st_blocks) * 512) / 10 * 9;
  }
  quota_.emplace(std::min(quota_bytes, map_size_bytes_), options.l0_hard_bytes);
  return absl::OkStatus();
}

}  // namespace millrace::storage
