#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/container/flat_hash_set.h"

namespace millrace {

// Which records flushes have changed since a build began, as hashes: an entry that the build read
// from any other record is as good as when it was read. Bounded; when it is full every record may
// have changed. What belongs to an aborted transaction may stay in it, for a record too many costs
// only a look at the record. Owned by the Writer thread.
class ChangedRecords {
 public:
  // 500,000 hashes take 9 MiB at most.
  static constexpr size_t kRecordsMax = 500'000;

  // `unknown`: changes went unseen (the engine was opened anew), so every record may have changed.
  explicit ChangedRecords(bool unknown, size_t record_max = kRecordsMax)
      : record_max_(record_max), full_(unknown) {}

  // `key`: the record's in tree kRecords.
  void Note(std::string_view key);
  bool MayHold(std::string_view key) const;
  // Nothing has changed: no key need be asked about.
  bool none() const { return !full_ && hashes_.empty(); }
  bool full() const { return full_; }

 private:
  const size_t record_max_;
  bool full_;
  absl::flat_hash_set<uint64_t> hashes_;
};

}  // namespace millrace
