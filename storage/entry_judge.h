#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "millrace/storage/index_entry.h"
#include "millrace/storage/index_value.h"
#include "millrace/storage/marks.h"

namespace millrace::storage {

class ReadTransaction;
class WriteTransaction;

// Whether an entry of an index is what its record, and the link where it is scoped, say in the same
// transaction: what an audit looks for, and what a repair goes by. The errors are LMDB's.
// Thread-safe.
enum class EntryVerdict : uint8_t {
  kGood,
  kNoRecord,
  kOtherValue,
  kNoMember,    // Of a scoped index: the record is no member of the owner.
  kUnreadable,  // The record or the link is damaged: nobody knows.
};
// Behind kGood, `value` is the record's whole value.
absl::StatusOr<EntryVerdict> JudgeEntry(const ReadTransaction& transaction,
                                        const MarkedIndex& index, const IndexEntry& entry,
                                        IndexKey* value);
absl::StatusOr<EntryVerdict> JudgeEntry(const WriteTransaction& transaction,
                                        const MarkedIndex& index, const IndexEntry& entry,
                                        IndexKey* value);

// To whom else a value leads.
struct OtherOwners {
  bool found = false;  // There is an entry for another record.
  std::string holder;  // The first of them that has the whole value; empty: none.
};
// `entry` has generation, owner, value and the id of the one who is not meant.
absl::StatusOr<OtherOwners> FindOtherOwners(const ReadTransaction& transaction,
                                            const MarkedIndex& index, const IndexEntry& entry,
                                            const IndexKey& value);
absl::StatusOr<OtherOwners> FindOtherOwners(WriteTransaction& transaction, const MarkedIndex& index,
                                            const IndexEntry& entry, const IndexKey& value);

// An entry's value as it would stand in JSON, for messages; with dots behind it if it is cut.
std::string EntryValueText(std::string_view encoded);

}  // namespace millrace::storage
