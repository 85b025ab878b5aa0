#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "millrace/storage/file_system.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// A tree of L1, as it was walked. Value.
struct VerifiedTree {
  std::string name;
  uint64_t rows = 0;
  uint64_t pages = 0;
};

// What a look at all of a store found. Value.
struct VerifyReport {
  static constexpr size_t kDamageKept = 1'000;

  // Sentences that name the place: file, page or offset, tree, row. The first kDamageKept.
  std::vector<std::string> damage;
  uint64_t damage_count = 0;
  // What an operator should know and is no damage, such as a torn tail that the next open cuts.
  std::vector<std::string> notes;

  std::vector<VerifiedTree> trees;
  uint64_t page_count = 0;  // Of LMDB's file.
  uint64_t free_page_count = 0;
  uint64_t log_file_count = 0;
  uint64_t log_batch_count = 0;
  uint64_t manifest = 0;                 // The head's number.
  Version flushed_version = kNoVersion;  // L1 holds everything up to here.
  Version last_version = kNoVersion;     // The log ends here.

  bool sound() const { return damage_count == 0; }
  void AddDamage(std::string what);
};

// Looks at every page, row and log record of the store in `directory`: pages and trees of LMDB's
// file, checksums, keys, counts, where L1 stands, the outcomes it remembers, the log, and the log's
// rows against L1's. Nothing is created, changed or recovered; the store must not be open. Damage
// is in the report; `files` is where the log lies, as for the engine.
//
// NotFound: no store. Unavailable: somebody has it open (payload "millrace/owner-pid"). DataLoss:
// its database file is missing. FailedPrecondition: no store, or one of another format. Else the
// file system's error. May be called on any thread; takes memory for the rows of the log.
absl::StatusOr<VerifyReport> VerifyStore(std::string_view directory,
                                         FileSystem& files = SystemFileSystem());

}  // namespace millrace::storage
