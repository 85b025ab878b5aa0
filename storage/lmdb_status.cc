#include "millrace/storage/lmdb_status.h"

#include <errno.h>

#include <system_error>

#include "absl/strings/str_cat.h"
#include <lmdb.h>

#include "millrace/storage/row_key.h"

namespace millrace::storage {
namespace {

struct Meaning {
  int code;
  absl::StatusCode status;
  const char* what_to_do;  // Empty where the cause says it all.
};

using absl::StatusCode;

constexpr Meaning kMeanings[] = {
    {MDB_KEYEXIST, StatusCode::kAlreadyExists, "the key is there, or not above the last one"},
    {MDB_NOTFOUND, StatusCode::kNotFound, ""},
    {MDB_PAGE_NOTFOUND, StatusCode::kDataLoss, "restore the store from a backup"},
    {MDB_CORRUPTED, StatusCode::kDataLoss, "restore the store from a backup"},
    {MDB_PANIC, StatusCode::kUnavailable, "close the store and open it again"},
    {MDB_VERSION_MISMATCH, StatusCode::kFailedPrecondition,
     "the file was written by another version of LMDB: dump it with that version and load it here"},
    {MDB_INVALID, StatusCode::kFailedPrecondition,
     "the file is no LMDB database: name a store's directory, or an empty one"},
    {MDB_MAP_FULL, StatusCode::kResourceExhausted, "delete data or open with a larger map"},
    {MDB_DBS_FULL, StatusCode::kInternal, ""},
    {MDB_READERS_FULL, StatusCode::kResourceExhausted,
     "end snapshots or open with more reader slots"},
    {MDB_TLS_FULL, StatusCode::kResourceExhausted, ""},
    {MDB_TXN_FULL, StatusCode::kResourceExhausted, "split the transaction"},
    {MDB_CURSOR_FULL, StatusCode::kDataLoss, "the tree is too deep to be sound"},
    {MDB_PAGE_FULL, StatusCode::kInternal, ""},
    {MDB_MAP_RESIZED, StatusCode::kUnavailable,
     "another process changed the file: close the store and open it again"},
    {MDB_INCOMPATIBLE, StatusCode::kFailedPrecondition, "the file holds a tree of another kind"},
    {MDB_BAD_RSLOT, StatusCode::kInternal, ""},
    {MDB_BAD_TXN, StatusCode::kInternal, "the transaction failed before or has ended"},
    {MDB_BAD_VALSIZE, StatusCode::kInvalidArgument,
     "a key has 1 to 511 bytes, a value below 4 GiB"},
    {MDB_BAD_DBI, StatusCode::kInternal, ""},
    {ENOENT, StatusCode::kNotFound, ""},
    {EACCES, StatusCode::kPermissionDenied, "grant this user read and write access"},
    {EPERM, StatusCode::kPermissionDenied, "grant this user read and write access"},
    {EROFS, StatusCode::kPermissionDenied, "mount the file system for writing"},
    {ENOTDIR, StatusCode::kFailedPrecondition, "name a directory"},
    {EISDIR, StatusCode::kFailedPrecondition, "a directory lies where a file should be"},
    {ENAMETOOLONG, StatusCode::kInvalidArgument, "use a shorter path"},
    {ELOOP, StatusCode::kInvalidArgument, "the path holds a loop of links"},
    {EINVAL, StatusCode::kInvalidArgument, ""},
    {ENOSPC, StatusCode::kResourceExhausted, "free space on the disk"},
    {EDQUOT, StatusCode::kResourceExhausted, "raise the user's disk quota or free space"},
    {EFBIG, StatusCode::kResourceExhausted, "raise the limit on file sizes"},
    {ENOMEM, StatusCode::kResourceExhausted, "free memory or raise the limit on address space"},
    {EMFILE, StatusCode::kResourceExhausted, "raise the limit on open files"},
    {ENFILE, StatusCode::kResourceExhausted, "raise the limit on open files"},
    {EAGAIN, StatusCode::kUnavailable, "try again"},
    {EBUSY, StatusCode::kUnavailable, "try again"},
    {EIO, StatusCode::kInternal, "check the device"},
};

// Not strerror(): that is not thread-safe.
std::string Cause(int code) {
  return code > 0 ? std::generic_category().message(code) : std::string(mdb_strerror(code));
}

}  // namespace

absl::Status LmdbStatus(int code, std::string_view operation, std::string_view subject) {
  if (code == MDB_SUCCESS) return absl::OkStatus();
  if (code == MDB_NOTFOUND) return absl::Status(StatusCode::kNotFound, "");
  Meaning meaning = {code, StatusCode::kInternal, ""};
  for (const Meaning& known : kMeanings) {
    if (known.code == code) meaning = known;
  }
  std::string message = absl::StrCat(ToAbsl(operation), " ", ToAbsl(subject), ": ", Cause(code));
  if (*meaning.what_to_do != '\0') absl::StrAppend(&message, "; ", meaning.what_to_do);
  return absl::Status(meaning.status, message);
}

}  // namespace millrace::storage
