#include "millrace/storage/flush_window.h"

namespace millrace::storage {

absl::StatusOr<FlushWindow> FlushWindow::Of(const RowView& view) {
  absl::StatusOr<L1State> l1 = ReadL1State(view.transaction());
  if (!l1.ok()) return l1.status();
  return FlushWindow(view, *std::move(l1));
}

bool FlushWindow::Touches(std::string_view row_key) const {
  L0Row row;
  return l1_.flush.has_value() &&
         FindInL0(view_.buffers(), row_key, l1_.flush->last_version, &row) &&
         row.version >= l1_.flush->first_version;
}

// The row by the owner changes with the row by the member.
bool FlushWindow::Touches(const Relation& relation, const LinkEnds& ends) const {
  if (!l1_.flush.has_value()) return false;
  return Touches(MemberRowKey(ends)) ||
         Touches(EncodeRowKey({.collection = relation.owners, .id = ends.owner})) ||
         Touches(EncodeRowKey({.collection = relation.members, .id = ends.member}));
}

}  // namespace millrace::storage
