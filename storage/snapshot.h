#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

#include "millrace/storage/document.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/write_batch.h"

namespace millrace::storage {

class Environment;
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
// the engine may end it (too old, or memory is short, or it stops), then every call answers
// Aborted, Cancelled after shutdown. Moved, not copied. Owned by one thread at a time; not
// thread-safe.
class Snapshot {
 public:
  // For the engine: what is published now. See LiveView for the protocol.
  static absl::StatusOr<Snapshot> Take(Environment& environment, const LiveView& view,
                                       std::string_view owner);
  Snapshot(Snapshot&&) noexcept;
  Snapshot& operator=(Snapshot&&) noexcept;
  ~Snapshot();

  Version version() const;

  // The record. NotFound (with an empty message) if there is none. DataLoss names a damaged row.
  absl::StatusOr<Record> Get(const Collection& collection, std::string_view id) const;

  // Calls `visit` for each record of the range, ascending by id, until it returns false. DataLoss
  // ends the scan at the damaged row.
  absl::Status Scan(const Collection& collection, const ScanRange& range,
                    absl::FunctionRef<bool(const RecordRef&)> visit) const;

  // How many records the collection has. Cost: one probe per row that is not in LMDB yet.
  absl::StatusOr<uint64_t> Count(const Collection& collection) const;

  // The collection of that name. NotFound if there is none.
  absl::StatusOr<Collection> FindCollection(std::string_view name) const;
  absl::StatusOr<std::vector<Collection>> ListCollections() const;

 private:
  struct State;
  explicit Snapshot(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace millrace::storage
