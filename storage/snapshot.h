#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "millrace/storage/document.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/write_batch.h"

namespace millrace::storage {

class Environment;
class Lease;
class LeaseRegistry;
class LiveView;

// A record as a snapshot holds it. Value.
struct Record {
  std::string id;
  Version version = kNoVersion;
  Document document;
};

// The same, as views that end with the call that gave them. Value.
struct RecordRef {
  std::string_view id;
  Version version = kNoVersion;
  std::string_view document;  // FlexBuffer bytes; Document::FromTrustedBytes owns a copy.
};

// Which ids a scan visits, ascending by byte order: [from, to), those that begin with `prefix`.
// An empty `to` has no end. Value.
struct ScanRange {
  std::string_view prefix;
  std::string_view from;
  std::string_view to;
};

// What a read sees: the store at one version, consistent while commits and flushes go on. A lease:
// the engine ends it when it is too old, or when commits wait for memory that it retains (every
// call answers Aborted then; take a new one), and when the store closes (Cancelled). It may outlive
// the engine. Moved, not copied. Thread-safe, but for moving and destruction.
class Snapshot {
 public:
  // What the engine's snapshots have in common. All but the registry are used until it is closed.
  struct Source {
    Environment& environment;
    const LiveView& view;
    std::shared_ptr<LeaseRegistry> leases;
  };
  // For the engine: what is published now, by the protocol of LiveView. `owner` and `now` (of a
  // clock that never jumps) are for the lease.
  static absl::StatusOr<Snapshot> Take(const Source& source, std::string_view owner,
                                       absl::Time now);
  Snapshot(Snapshot&&) noexcept;
  Snapshot& operator=(Snapshot&&) noexcept;
  ~Snapshot();

  // Every batch up to this one is in it, and none later.
  Version version() const { return version_; }

  // The record. NotFound (with an empty message) if there is none. DataLoss names a damaged row.
  absl::StatusOr<Record> Get(const Collection& collection, std::string_view id) const;

  // Calls `visit` for each record of the range, ascending by id, until it returns false. DataLoss
  // ends the scan at the damaged row. A lease that ends meanwhile ends the scan between two rows.
  absl::Status Scan(const Collection& collection, const ScanRange& range,
                    absl::FunctionRef<bool(const RecordRef&)> visit) const;

  // How many records the collection has. Cost: one probe per row that is not in LMDB yet.
  absl::StatusOr<uint64_t> Count(const Collection& collection) const;

  // The collection of that name. NotFound if there is none.
  absl::StatusOr<Collection> FindCollection(std::string_view name) const;
  // All of them, by name.
  absl::StatusOr<std::vector<Collection>> ListCollections() const;

 private:
  class Holdings;
  Snapshot(std::shared_ptr<LeaseRegistry> leases, std::unique_ptr<Lease> lease,
           const Holdings* holdings, Version version);

  std::shared_ptr<LeaseRegistry> leases_;  // Outlives the lease.
  std::unique_ptr<Lease> lease_;
  const Holdings* holdings_;  // There while a LeaseCall says so.
  Version version_;
};

}  // namespace millrace::storage
