#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/actors/engine.h"
#include "millrace/tools/console.h"
#include "millrace/tools/exit_code.h"

namespace millrace {

// How much will be written while the store is open.
enum class Workload : uint8_t {
  kLittle,  // One document at most: a small log file, so that opening costs milliseconds.
  kBulk,
};

// Opens the store at `path` that is there already; creates nothing. NotFound naming the path.
absl::StatusOr<std::unique_ptr<Engine>> OpenExistingStore(std::string_view path);

// A store and one of its collections. Move-only.
struct OpenedCollection {
  std::unique_ptr<Engine> engine;
  storage::Collection collection;
};

// The same with a collection, named in the error if it is missing.
absl::StatusOr<OpenedCollection> OpenExistingCollection(std::string_view path,
                                                        std::string_view name);
// The same, but creates what is missing.
absl::StatusOr<OpenedCollection> OpenOrCreateCollection(std::string_view path,
                                                        std::string_view name, Workload workload);

// Says what failed and gives the exit code for it.
ExitCode Fail(Console& console, std::string_view doing, const absl::Status& status);

}  // namespace millrace
