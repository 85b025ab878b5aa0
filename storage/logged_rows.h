#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

#include "millrace/storage/log_reader.h"
#include "millrace/storage/meta.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/verify.h"

namespace millrace::storage {

// What the log says of rows that L1 should hold: per row the newest effect that was flushed. For
// verification: log and trees must agree. Owned by one thread.
class LoggedRows {
 public:
  // What L1 should have of one row. Value.
  struct Effect {
    Version version = kNoVersion;
    bool tombstone = false;
  };

  // Takes a batch of the log, in order; `l1` says what of it was flushed. DataLoss if it cannot be
  // read.
  absl::Status Take(const LoggedBatch& batch, const L1State& l1);

  // Checks a row that lies in L1 under this encoded row key; empty, or what is wrong.
  std::string Check(std::string_view row_key, const Effect& found, const L1State& l1);
  // The row lies in L1, but cannot be read.
  void Skip(std::string_view row_key);
  // Tells of the rows that should be in L1 and were neither checked nor skipped.
  void FindMissing(const L1State& l1, VerifyReport& report) const;

  // How a message names a row.
  static std::string NameOf(std::string_view row_key);

 private:
  struct Row {
    Effect at_head;   // The newest up to the head's version.
    Effect at_flush;  // The newest up to the version of the flush under way.
    bool seen = false;
  };
  const Effect& Wanted(std::string_view row_key, const Row& row, const L1State& l1) const;

  absl::flat_hash_map<std::string, Row> rows_;
  Version first_version_ = kNoVersion;  // The log begins here.
};

}  // namespace millrace::storage
