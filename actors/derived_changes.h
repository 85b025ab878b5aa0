#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/messages/flush.h"
#include "millrace/storage/marks.h"
#include "millrace/storage/row_view.h"

namespace millrace {

// A record as L1 will hold it when the flushes before this one are published. Value.
struct OlderRecord {
  bool exists = false;
  bool known = true;  // False: it is damaged, so nobody knows its values.
  std::string_view payload;
};

// Works out what the records and links of a flush change in indexes and relations: the entries to
// delete and to add, from the older and the newer version of each record, for every generation that
// is marked; and the links that end with a record. Entries of scoped indexes are worked out with
// the member if it is in the flush, else with the link; where an owner was deleted, they are erased
// with the owner and come anew with the member or the link. So each slice may be applied alone, and
// a flush that is resumed between two of them leaves no entry behind. Owned by the streamer.
class DerivedChanges {
 public:
  // `before`: rows as they are before the flush. `after`: behind it; its first buffer is the
  // flush's own. `first_version` is the flush's first.
  DerivedChanges(const storage::Marks& marks, const storage::RowView& before,
                 const storage::RowView& after, storage::Version first_version)
      : marks_(marks), before_(before), after_(after), first_version_(first_version) {}

  // What is maintained of a collection; null: nothing, and AddRecord need not be called.
  const storage::CollectionMarks* Of(storage::CollectionId collection) const {
    return marks_.Of(collection);
  }
  // One record of the flush. `make_room` is called where the slice may be cut although the record
  // is not complete: between two links that end with it.
  struct RecordChange {
    storage::L0Row row;  // As it will be.
    storage::RowKey key;
    OlderRecord older;
  };
  absl::Status AddRecord(const RecordChange& record, const storage::CollectionMarks& marks,
                         Slice* slice, absl::FunctionRef<absl::Status()> make_room);
  // Whether a link row of the flush is still wanted: both its ends are there. And what it changes.
  absl::StatusOr<bool> LinkLives(const storage::L0Row& row) const;
  absl::Status AddLink(const storage::L0Row& row, Slice* slice);

 private:
  // How a value stood before the flush and how it will stand behind it.
  struct ValueChange {
    const storage::IndexKey* before = nullptr;  // Null: no entry.
    const storage::IndexKey* after = nullptr;
  };
  ValueChange ChangeOf(const storage::MarkedIndex& index, const RecordChange& record);
  void AddEntries(const storage::MarkedIndex& index, std::string_view owner, std::string_view id,
                  const ValueChange& change, Slice* slice);
  absl::Status AddScoped(const storage::MarkedIndex& index, const RecordChange& record,
                         const ValueChange& change, Slice* slice);
  absl::Status EndLinks(const storage::Relation& relation, bool as_owner, std::string_view id,
                        Slice* slice, absl::FunctionRef<absl::Status()> make_room);
  absl::Status EndLink(const storage::Relation& relation, const storage::LinkEnds& ends,
                       Slice* slice);
  absl::Status EraseScopedEntries(const storage::Relation& relation, const storage::LinkEnds& ends,
                                  Slice* slice);
  bool InFlush(storage::CollectionId collection, std::string_view id) const;
  absl::StatusOr<bool> IsMember(const storage::RowView& view, const storage::Relation& relation,
                                const storage::LinkEnds& ends) const;
  static void Append(DerivedChange::Kind kind, std::string_view key, Slice* slice);

  const storage::Marks& marks_;
  const storage::RowView& before_;
  const storage::RowView& after_;
  const storage::Version first_version_;
  storage::IndexKey old_key_;
  storage::IndexKey new_key_;
  std::string entry_;
};

// Brings the derived changes of a slice, which is complete, into the order of their keys.
void SortDerived(Slice* slice);

}  // namespace millrace
