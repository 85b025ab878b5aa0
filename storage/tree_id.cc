#include "millrace/storage/tree_id.h"

#include <array>

namespace millrace::storage {

std::string_view TreeName(TreeId tree) {
  static constexpr std::array<std::string_view, kTreeCount> kNames = {
      "records", "catalog", "manifests", "meta", "relations", "index", "generations", "tasks",
  };
  return kNames[static_cast<size_t>(tree)];
}

}  // namespace millrace::storage
