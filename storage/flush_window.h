#pragma once

#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

#include "millrace/storage/meta.h"
#include "millrace/storage/relation.h"
#include "millrace/storage/row_view.h"

namespace millrace::storage {

// The flush that is under way in a view's transaction, whose slices may be in LMDB only in part:
// what of LMDB may differ for that reason alone. Its buffer is among the view's, for it leaves them
// only when all of it is in LMDB. Refers to the view. Thread-compatible.
class FlushWindow {
 public:
  static absl::StatusOr<FlushWindow> Of(const RowView& view);

  const L1State& l1() const { return l1_; }
  // Whether it brings this version.
  bool Brings(Version version) const {
    return l1_.flush.has_value() && version >= l1_.flush->first_version;
  }
  // Whether it changes the row; the link, or what its entries in a scoped index follow from.
  bool Touches(std::string_view row_key) const;
  bool Touches(const Relation& relation, const LinkEnds& ends) const;

 private:
  FlushWindow(const RowView& view, L1State l1) : view_(view), l1_(std::move(l1)) {}

  const RowView& view_;
  L1State l1_;
};

}  // namespace millrace::storage
