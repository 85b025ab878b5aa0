#include "millrace/storage/lmdb_status.h"

#include <errno.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <lmdb.h>

namespace millrace::storage {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Code = absl::StatusCode;

struct Case {
  int code;
  Code want;
};

TEST(LmdbStatusTest, EveryCodeHasItsStatus) {
  const Case cases[] = {
      {MDB_KEYEXIST, Code::kAlreadyExists},
      {MDB_PAGE_NOTFOUND, Code::kDataLoss},
      {MDB_CORRUPTED, Code::kDataLoss},
      {MDB_PANIC, Code::kUnavailable},
      {MDB_VERSION_MISMATCH, Code::kFailedPrecondition},
      {MDB_INVALID, Code::kFailedPrecondition},
      {MDB_MAP_FULL, Code::kResourceExhausted},
      {MDB_DBS_FULL, Code::kInternal},
      {MDB_READERS_FULL, Code::kResourceExhausted},
      {MDB_TLS_FULL, Code::kResourceExhausted},
      {MDB_TXN_FULL, Code::kResourceExhausted},
      {MDB_CURSOR_FULL, Code::kDataLoss},
      {MDB_PAGE_FULL, Code::kInternal},
      {MDB_MAP_RESIZED, Code::kUnavailable},
      {MDB_INCOMPATIBLE, Code::kFailedPrecondition},
      {MDB_BAD_RSLOT, Code::kInternal},
      {MDB_BAD_TXN, Code::kInternal},
      {MDB_BAD_VALSIZE, Code::kInvalidArgument},
      {MDB_BAD_DBI, Code::kInternal},
      {ENOENT, Code::kNotFound},
      {EACCES, Code::kPermissionDenied},
      {EPERM, Code::kPermissionDenied},
      {EROFS, Code::kPermissionDenied},
      {ENOTDIR, Code::kFailedPrecondition},
      {EISDIR, Code::kFailedPrecondition},
      {ENAMETOOLONG, Code::kInvalidArgument},
      {ELOOP, Code::kInvalidArgument},
      {EINVAL, Code::kInvalidArgument},
      {ENOSPC, Code::kResourceExhausted},
      {EDQUOT, Code::kResourceExhausted},
      {EFBIG, Code::kResourceExhausted},
      {ENOMEM, Code::kResourceExhausted},
      {EMFILE, Code::kResourceExhausted},
      {ENFILE, Code::kResourceExhausted},
      {EAGAIN, Code::kUnavailable},
      {EBUSY, Code::kUnavailable},
      {EIO, Code::kInternal},
      {ENODEV, Code::kInternal},
      {-1, Code::kInternal},
  };
  for (const Case& c : cases) {
    const absl::Status status = LmdbStatus(c.code, "committing to", "/some/store.mdb");
    EXPECT_EQ(status.code(), c.want) << c.code << ": " << status;
    EXPECT_THAT(std::string(status.message()), StartsWith("committing to /some/store.mdb: "));
    const std::string cause = c.code == -1 ? "" : mdb_strerror(c.code);
    EXPECT_THAT(std::string(status.message()), HasSubstr(cause.substr(0, 12)));
  }
}

// LMDB numbers its codes without gaps: one that a later version adds must get a row above.
TEST(LmdbStatusTest, NoCodeOfThisLmdbIsUnknown) {
  EXPECT_EQ(MDB_LAST_ERRCODE, MDB_BAD_DBI);
  for (int code = MDB_KEYEXIST; code <= MDB_LAST_ERRCODE; ++code) {
    EXPECT_NE(LmdbStatus(code, "doing", "it").code(), Code::kOk) << code;
  }
}

TEST(LmdbStatusTest, SuccessAndAbsenceSayNothing) {
  EXPECT_TRUE(LmdbStatus(MDB_SUCCESS, "doing", "it").ok());
  const absl::Status absent = LmdbStatus(MDB_NOTFOUND, "doing", "it");
  EXPECT_EQ(absent.code(), Code::kNotFound);
  EXPECT_TRUE(absent.message().empty());
}

}  // namespace
}  // namespace millrace::storage
