#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

#include "millrace/storage/row_key.h"

namespace millrace::storage {

class ReadTransaction;

// The rows of the trees `manifests` and `meta`: where L1 stands. FlexBuffers behind a checksum, so
// that they can grow fields. All of this file is thread-safe.

// Record counts per (branch, collection).
using CountMap = std::map<std::pair<BranchId, CollectionId>, int64_t>;

// What one flush published.
struct Manifest {
  uint64_t id = 0;                    // Dense, 1 is the first; also the flush's sequence.
  uint64_t parent = 0;                // The manifest before it; 0 for the first.
  Version last_version = kNoVersion;  // L1 holds exactly the batches up to this one.
  uint64_t log_floor = 0;             // Replay begins at this log file.
  CountMap counts;
  uint64_t count_repairs = 0;  // How often a repair has changed counts.
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

// A flush under way: what of it is in L1. Absent between flushes.
struct FlushRow {
  uint64_t sequence = 0;
  Version first_version = kNoVersion;
  Version last_version = kNoVersion;
  uint32_t attempt = 0;
  uint64_t next_slice = 0;
  std::string cursor;  // Rows up to this key are in L1.
  CountMap deltas;     // Count changes of the slices so far.
  friend bool operator==(const FlushRow&, const FlushRow&) = default;
};

// Where L1 stands, read in one transaction. Value.
struct L1State {
  Manifest head;                  // Id 0 if nothing was ever flushed.
  std::optional<FlushRow> flush;  // The flush under way.
  Version ingested = kNoVersion;  // The newest version of which L1 may hold a row.

  // How many records of the collection the tree holds, those of the flush under way included.
  int64_t RecordCount(BranchId branch, CollectionId collection) const;
};
// DataLoss if a row is damaged or the head names a manifest that is not there.
absl::StatusOr<L1State> ReadL1State(const ReadTransaction& transaction);
// Of these only the newest version of which L1 may hold a row.
absl::StatusOr<Version> ReadIngestedVersion(const ReadTransaction& transaction);

std::string EncodeManifest(const Manifest& manifest);
// DataLoss if the bytes are not a manifest as it was written.
absl::StatusOr<Manifest> DecodeManifest(std::string_view bytes);
std::string EncodeFlushRow(const FlushRow& row);
absl::StatusOr<FlushRow> DecodeFlushRow(std::string_view bytes);

// Keys. A manifest's key orders by id.
std::string ManifestKey(uint64_t id);
inline constexpr std::string_view kHeadKey = "head";    // In `meta`: id of the head manifest.
inline constexpr std::string_view kFlushKey = "flush";  // In `meta`: the flush row.
// In `meta`: the newest version of which L1 may hold a row. Set by a flush's first slice.
inline constexpr std::string_view kIngestedKey = "ingested";

// The value of a row of `meta` that is a few bytes, or one number: behind a checksum that covers
// the row's key, too, so that a row that is found under another's key is noticed.
std::string SealBytes(std::string_view key, std::string_view bytes);
std::string EncodeNumber(std::string_view key, uint64_t number);
// DataLoss, naming the row, unless the value is what was written under this key.
absl::StatusOr<std::string_view> UnsealBytes(std::string_view key, std::string_view value);
absl::StatusOr<uint64_t> DecodeNumber(std::string_view key, std::string_view value);

}  // namespace millrace::storage
