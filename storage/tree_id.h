#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace millrace::storage {

// The trees of L1. All are opened when the environment opens and none is ever dropped. A new tree
// is one line here and one name in tree_id.cc; an older store gets it at its next open.
enum class TreeId : uint8_t {
  kRecords,
  kCatalog,
  kManifests,
  kMeta,
  kRelations,
  kIndex,
  kGenerations,
  kTasks,
};

inline constexpr size_t kTreeCount = static_cast<size_t>(TreeId::kTasks) + 1;

// The name of the tree inside the LMDB file, for example "records". Lives for ever.
std::string_view TreeName(TreeId tree);

}  // namespace millrace::storage
