#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "millrace/actors/engine.h"

namespace millrace {

// Indexes of a collection, several at a time: defined when an embedder starts, and out of the way
// of a bulk load. An index costs each record of a load an entry, put where it belongs; a build
// behind the load sorts all of them first and appends.

// When indexes that have to be built are there.
enum class Registration : uint8_t {
  kAsync,  // Each has a task that is pending, durably: IndexDefined::build.
  kEager,  // All are complete.
};

// Defines each, or defines it anew: Engine::CreateIndex. With kEager it then waits for the builds,
// up to `timeout` for each. The first error ends it (a definition that is refused; a build that
// failed for good, or was cancelled; DeadlineExceeded): what was defined before stays defined, and
// what is being built goes on.
absl::StatusOr<std::vector<IndexDefined>> CreateIndexes(
    Engine& engine, const storage::Collection& collection,
    absl::Span<const storage::IndexOptions> indexes, Registration registration,
    absl::Duration timeout = absl::InfiniteDuration());

// Drops all indexes of a collection and answers how they were defined: what CreateIndexes is to be
// given when the load is done. Until then nothing keeps a unique value from having two records; the
// build finds those. FailedPrecondition, and nothing is dropped, if one of them cannot be read.
absl::StatusOr<std::vector<storage::IndexOptions>> DeferIndexes(
    Engine& engine, const storage::Collection& collection);

}  // namespace millrace
