#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "millrace/storage/current_rows.h"
#include "millrace/storage/marks.h"
#include "millrace/storage/row_view.h"
#include "millrace/storage/write_batch.h"

namespace millrace {

// Works out what a batch means for indexes and relations: the rows of its links, a candidate row
// for each value that an index holds of its records, and whether a unique value would get a second
// owner. All is judged by the state behind the batch, so values can be swapped within one. Owned by
// the Committer thread.
class IndexEffects {
 public:
  explicit IndexEffects(storage::CurrentRows& current)
      : current_(current), marks_(storage::MakeMarks()) {}

  // What stands from the next batch on.
  void SetMarks(storage::MarksRef marks) { marks_ = std::move(marks); }
  const storage::Marks& marks() const { return *marks_; }

  // A batch: its effects on records, its links (views into it), and the version it would get.
  struct Input {
    std::string_view effects;
    absl::Span<const storage::Operation> links;
    storage::Version version = storage::kNoVersion;
  };
  // Appends the rows to `out`, as effects. The errors refuse the batch: AlreadyExists (with
  // GetIndexConflict), NotFound (relation), FailedPrecondition (an end of a link does not exist; an
  // owner has all the members it may have), DataLoss.
  absl::Status Append(const Input& input, std::string* out);
  // How many rows the last Append has appended.
  size_t row_count() const { return row_count_; }

 private:
  // A link of the batch as it will be.
  struct NewLink {
    const storage::Relation* relation;
    storage::LinkEnds ends;  // Views into the batch.
    bool member = false;     // False: ended, or staged.
  };
  // A record that is to have a value of a unique index.
  struct Claim {
    const storage::MarkedIndex* index;
    std::string owner;  // The scope.
    storage::IndexKey key;
    std::string_view id;
  };
  using Row = std::optional<storage::CurrentRow>;

  bool NeedsState(const Input& input) const;
  absl::Status LoadState(const Input& input);
  absl::StatusOr<Row> FindAfter(const std::string& row_key) const;
  absl::StatusOr<bool> IsMemberAfter(const storage::Relation& relation,
                                     const storage::LinkEnds& ends) const;
  absl::Status ForEachOwner(const storage::Relation& relation, std::string_view member,
                            absl::FunctionRef<absl::Status(std::string_view)> visit) const;

  absl::Status AppendLink(const storage::Operation& operation, storage::Version version,
                          std::string* out);
  void AppendLinkRows(const NewLink& link, const std::string& old_owner_row,
                      const storage::LinkData& data, storage::Version version, std::string* out);
  absl::Status CheckEnd(storage::CollectionId collection, std::string_view id,
                        const storage::Relation& relation) const;
  absl::Status AppendCandidates(const storage::Operation& effect, std::string_view id,
                                const storage::CollectionMarks& collection, std::string* out);
  absl::Status AppendLinkCandidates(const NewLink& link, std::string* out);
  absl::Status CheckRoom() const;
  absl::StatusOr<bool> HasRoom(const storage::Relation& relation, std::string_view owner,
                               uint64_t new_count) const;
  absl::StatusOr<uint64_t> CountOthers(const storage::Relation& relation, std::string_view owner,
                                       uint64_t at_most, bool exact) const;

  absl::Status AddClaims(const storage::MarkedIndex& index, std::string_view id);
  absl::Status AddClaim(const storage::MarkedIndex& index, std::string_view owner,
                        std::string_view id);
  absl::Status CheckClaim(const Claim& claim) const;
  absl::StatusOr<bool> Owns(const Claim& claim, std::string_view id) const;

  void AppendRow(storage::OperationKind kind, std::string_view key, std::string_view value,
                 std::string* out);

  storage::CurrentRows& current_;
  storage::MarksRef marks_;

  // Of the batch that is worked at.
  size_t row_count_ = 0;
  std::optional<storage::RowView> view_;           // The state before it.
  absl::flat_hash_map<std::string, Row> overlay_;  // What it changes; views into it.
  std::deque<std::string> link_data_;              // What link rows in the overlay view into.
  std::vector<NewLink> links_;
  std::vector<Claim> claims_;
  absl::flat_hash_map<std::string, std::string_view>
      claimed_;  // By index, scope and value: the id.
  storage::IndexKey key_;
  std::string candidate_;
};

}  // namespace millrace
