#pragma once

#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/live_view.h"
#include "millrace/storage/read_transaction.h"
#include "millrace/storage/relation.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// The LMDB tree that holds the rows of an L0 tree, and a row's key there (without the tree byte).
TreeId TreeOf(std::string_view row_key);
std::string_view KeyInTree(std::string_view row_key);

// A version that no row is newer than.
inline constexpr Version kNewestVersion = ~Version{0};

// What a row is. Value; the payload views into L0 or the read transaction.
struct CurrentRow {
  Version version = kNoVersion;
  std::string_view payload;
};

// Rows as they are at a version: what lookups, checks and streams decide by. It refers to buffers,
// newest first, and to a transaction that was taken as LiveView says; both outlive it.
// Thread-compatible.
class RowView {
 public:
  RowView(const BufferList& buffers, const ReadTransaction& transaction, Version version)
      : buffers_(buffers), transaction_(transaction), version_(version) {}

  // The row, or nothing if there is none (never written, or deleted). DataLoss names a damaged one.
  absl::StatusOr<std::optional<CurrentRow>> Find(std::string_view row_key) const;
  // Whether the row was deleted in a version above `since`, whatever it is now. What LMDB holds was
  // cleared of everything that such a deletion ends.
  bool DeletedSince(std::string_view row_key, Version since) const;
  // Whether both ends of a link exist, and have existed since it was made in version `linked`.
  absl::StatusOr<bool> EndsLive(const Relation& relation, const LinkEnds& ends,
                                Version linked) const;
  // The link between two records as it counts: nothing if there is none, or an end is gone. Staged
  // ones included.
  struct Link {
    Version version = kNoVersion;
    LinkData data;
  };
  absl::StatusOr<std::optional<Link>> FindLink(const Relation& relation,
                                               const LinkEnds& ends) const;

  const BufferList& buffers() const { return buffers_; }
  const ReadTransaction& transaction() const { return transaction_; }
  Version version() const { return version_; }

 private:
  const BufferList& buffers_;
  const ReadTransaction& transaction_;
  const Version version_;
};

// The state of a row in L0: its newest up to `version`. False if L0 has none.
bool FindInL0(const BufferList& buffers, std::string_view row_key, Version version, L0Row* row);
// The row in LMDB, or nothing.
absl::StatusOr<std::optional<CurrentRow>> FindInLmdb(const ReadTransaction& transaction,
                                                     std::string_view row_key);

}  // namespace millrace::storage
