#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "millrace/storage/document.h"
#include "millrace/storage/index_query.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/write_batch.h"

namespace millrace::storage {

class Environment;
class Lease;
class LeaseRegistry;
class LiveView;
class RowView;

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

  // The index of that name. NotFound if there is none; FailedPrecondition: a newer version made it.
  absl::StatusOr<IndexDefinition> FindIndex(const Collection& collection,
                                            std::string_view name) const;
  // Of all collections, those that cannot be used included.
  absl::StatusOr<std::vector<IndexInfo>> ListIndexes() const;
  // Calls `visit` for each record that has the value in the index, ordered by value, then id, until
  // it returns false. Each is judged as it is in this snapshot. (Text is ordered by its first 120
  // bytes.) InvalidArgument: a query that cannot be. NotFound: the index was dropped.
  absl::StatusOr<FoundPage> Find(const IndexDefinition& index, const IndexQuery& query,
                                 absl::FunctionRef<bool(const RecordRef&)> visit) const;
  // The record that has the value in a unique index; NotFound (with an empty message) if none has.
  // InvalidArgument: the index is not unique. `owner` is for a scoped index.
  absl::StatusOr<Record> FindUnique(const IndexDefinition& index, const IndexValue& value,
                                    std::string_view owner = "") const;
  // How many records `query` finds.
  absl::StatusOr<uint64_t> CountFound(const IndexDefinition& index, const IndexQuery& query) const;
  // The records that have one of the values, in the values' order, each with the place of its
  // value. Blank values, and those that no record has, are passed over. Without a build: one scan
  // for all.
  absl::StatusOr<FoundPage> FindMany(const IndexDefinition& index,
                                     const std::vector<IndexValue>& values,
                                     absl::FunctionRef<bool(size_t, const RecordRef&)> visit,
                                     std::string_view owner = "") const;
  // `count` of the records that `query` finds (all if there are fewer), each choice as likely as
  // any other, in random order, whatever the query's own; `random` gives 64 random bits a call.
  // Reads the keys of the query's range once, holds `count` of them, and reads the records that it
  // gives; if many entries are stale it reads the range and all its records once more.
  absl::StatusOr<std::vector<Record>> Sample(const IndexDefinition& index, const IndexQuery& query,
                                             uint64_t count,
                                             absl::FunctionRef<uint64_t()> random) const;
  // What a record has in the indexes of its collection, by their names, then owner. NotFound if
  // there is no such record.
  absl::StatusOr<std::vector<IndexedValue>> IndexedIn(const Collection& collection,
                                                      std::string_view id) const;
  // NotFound if there is none of that name; FailedPrecondition: a newer version made it.
  absl::StatusOr<Relation> FindRelation(std::string_view name) const;
  absl::StatusOr<std::vector<RelationInfo>> ListRelations() const;
  // Calls `visit` for each member of the owner in the relation's order, or for each owner of the
  // member by id, until it returns false. InvalidArgument: no possible id.
  absl::StatusOr<FoundPage> Members(const Relation& relation, std::string_view owner,
                                    const LinkQuery& query,
                                    absl::FunctionRef<bool(const LinkRef&)> visit) const;
  absl::StatusOr<FoundPage> Owners(const Relation& relation, std::string_view member,
                                   const LinkQuery& query,
                                   absl::FunctionRef<bool(const LinkRef&)> visit) const;
  // The same for all owners of a record, of all relations that can be used, by relation, then
  // owner.
  absl::Status Memberships(const Collection& collection, std::string_view id,
                           absl::FunctionRef<bool(const Relation&, const LinkRef&)> visit) const;

  // For audits: all that the snapshot sees, as it lies there, until `use` returns. It is to ask
  // `ended` between rows, and to return its error.
  using Inspector =
      absl::FunctionRef<absl::Status(const RowView& view, absl::FunctionRef<absl::Status()> ended)>;
  absl::Status Inspect(Inspector use) const;

 private:
  class Holdings;
  template <typename Use>
  auto WithLookup(Use use) const;
  Snapshot(std::shared_ptr<LeaseRegistry> leases, std::unique_ptr<Lease> lease,
           const Holdings* holdings, Version version);

  std::shared_ptr<LeaseRegistry> leases_;  // Outlives the lease.
  std::unique_ptr<Lease> lease_;
  const Holdings* holdings_;  // There while a LeaseCall says so.
  Version version_;
};

}  // namespace millrace::storage
