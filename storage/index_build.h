#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

#include "millrace/storage/index_definition.h"

namespace millrace::storage {

// What is asked of an index build, and what it answers. The numbers of all enums are format.

// Where the records come from. All three give the same index.
enum class BuildSource : uint8_t {
  kInstances = 1,      // The records of the collection.
  kParticipation = 2,  // The members of the relation that the index is scoped by.
  kScan = 3,           // All records of the store, those of the collection picked out.
};

// What becomes of records that share a value of a unique index.
enum class DuplicatePolicy : uint8_t {
  kFail = 1,      // The build fails, and says which.
  kKeepLive = 2,  // The owner in the live generation stays it; where there is none, the lowest id.
  kLowestId = 3,
};

// Who asked for the build.
enum class BuildReason : uint8_t { kRequest = 1, kDefinition = 2, kGrowth = 3, kAge = 4 };

std::string_view ToString(BuildSource source);
std::string_view ToString(DuplicatePolicy policy);
std::string_view ToString(BuildReason reason);

// What was asked for. Value.
struct BuildRequest {
  IndexId index = 0;
  BuildSource source = BuildSource::kInstances;
  DuplicatePolicy duplicates = DuplicatePolicy::kFail;
  BuildReason reason = BuildReason::kRequest;
  // Tasks run in the order of (priority, task): 0 goes first.
  uint32_t priority = 100;
  friend bool operator==(const BuildRequest&, const BuildRequest&) = default;
};

// What a build met, so far or in all. Value.
struct BuildCounts {
  uint64_t scanned = 0;        // Rows of the source that were read.
  uint64_t live = 0;           // Of these, records that are there.
  uint64_t indexed = 0;        // Entries of the new generation.
  uint64_t skipped_blank = 0;  // Records whose field is blank.
  uint64_t missing = 0;        // Rows of the source whose record is not there.
  uint64_t conflicts = 0;      // Records that share a unique value with another.
  friend bool operator==(const BuildCounts&, const BuildCounts&) = default;
};

// Records that share a value of a unique index; of a build at most kDuplicateSamplesMax. Value.
struct DuplicateSample {
  std::string value;  // As it would stand in JSON.
  std::string owner;  // Of a scoped index.
  std::vector<std::string> ids;
  friend bool operator==(const DuplicateSample&, const DuplicateSample&) = default;
};
inline constexpr size_t kDuplicateSamplesMax = 10;

// What a build that is complete says of itself. Value.
struct BuildResult : BuildCounts {
  absl::Duration duration;
  std::vector<DuplicateSample> samples;  // Of the conflicts.
};

}  // namespace millrace::storage
