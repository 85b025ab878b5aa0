#pragma once

#include <string>

#include "millrace/storage/row_key.h"

namespace millrace::storage {

// What a client calls a collection. Value; got from Engine::OpenCollection or CreateCollection.
struct Collection {
  CollectionId id = 0;
  std::string name;
  friend bool operator==(const Collection&, const Collection&) = default;
};

}  // namespace millrace::storage
