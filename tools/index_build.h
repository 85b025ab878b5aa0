#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/actors/engine.h"
#include "millrace/tools/open_store.h"

namespace millrace {

// Asks for an index of the collection, by its name, to be built anew; the request says the rest.
// NotFound if there is none.
absl::StatusOr<storage::TaskId> ScheduleRebuild(const OpenedCollection& opened,
                                                std::string_view index,
                                                storage::BuildRequest request = {});

// Waits for a build, and shows on standard error how far it is and what it met.
absl::Status AwaitBuild(Engine& engine, storage::TaskId task);

}  // namespace millrace
