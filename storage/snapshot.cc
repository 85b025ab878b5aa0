#include "millrace/storage/snapshot.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/catalog.h"
#include "millrace/storage/current_rows.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/l0_merge.h"
#include "millrace/storage/l0_row.h"
#include "millrace/storage/lease.h"
#include "millrace/storage/lease_registry.h"
#include "millrace/storage/live_view.h"
#include "millrace/storage/lookup.h"
#include "millrace/storage/meta.h"
#include "millrace/storage/record.h"
#include "millrace/storage/row_cursor.h"

namespace millrace::storage {
namespace {

RecordRef RefTo(const Lookup::Found& found) {
  return {.id = found.id, .version = found.version, .document = found.document};
}

Record OwnedRecord(const RecordRef& record) {
  return {.id = std::string(record.id),
          .version = record.version,
          .document = Document::FromTrustedBytes(std::string(record.document))};
}

}  // namespace

// What the lease keeps: freed when it ends, on whatever thread that happens.
class Snapshot::Holdings final : public LeaseHoldings {
 public:
  Holdings(const LiveView& view, std::shared_ptr<const BufferList> buffers,
           ReadTransaction transaction)
      : view_(view), buffers_(std::move(buffers)), transaction_(std::move(transaction)) {}

  // The buffers that readers no longer need but for this snapshot (and others as old).
  uint64_t RetainedBytes() const override {
    const std::shared_ptr<const BufferList> live = view_.buffers();
    uint64_t bytes = 0;
    for (const auto& buffer : *buffers_) {
      if (std::find(live->begin(), live->end(), buffer) == live->end()) bytes += buffer->bytes();
    }
    return bytes;
  }

  const BufferList& buffers() const { return *buffers_; }
  const ReadTransaction& transaction() const { return transaction_; }
  RowView View(Version version) const { return {*buffers_, transaction_, version}; }

 private:
  const LiveView& view_;
  const std::shared_ptr<const BufferList> buffers_;
  const ReadTransaction transaction_;
};

Snapshot::Snapshot(std::shared_ptr<LeaseRegistry> leases, std::unique_ptr<Lease> lease,
                   const Holdings* holdings, Version version)
    : leases_(std::move(leases)), lease_(std::move(lease)), holdings_(holdings), version_(version) {
}
Snapshot::Snapshot(Snapshot&&) noexcept = default;
Snapshot& Snapshot::operator=(Snapshot&& other) noexcept {
  lease_ = std::move(other.lease_);  // Before its registry may go.
  leases_ = std::move(other.leases_);
  holdings_ = other.holdings_;
  version_ = other.version_;
  return *this;
}
Snapshot::~Snapshot() = default;

// The published version first, the buffers second, LMDB third; see LiveView. If a flush has already
// brought something newer than the version into LMDB, the version has moved on too: start again.
absl::StatusOr<Snapshot> Snapshot::Take(const Source& source, std::string_view owner,
                                        absl::Time now) {
  for (;;) {
    const Version version = source.view.published();
    std::shared_ptr<const BufferList> buffers = source.view.buffers();
    absl::StatusOr<ReadTransaction> transaction = source.environment.BeginRead();
    if (!transaction.ok()) return transaction.status();
    const absl::StatusOr<Version> ingested = ReadIngestedVersion(*transaction);
    if (!ingested.ok()) return ingested.status();
    if (*ingested > version) continue;
    auto holdings =
        std::make_unique<Holdings>(source.view, std::move(buffers), *std::move(transaction));
    const Holdings* const held = holdings.get();
    absl::StatusOr<Lease> lease = source.leases->Take(std::string(owner), std::move(holdings), now);
    if (!lease.ok()) return lease.status();
    return Snapshot(source.leases, std::make_unique<Lease>(*std::move(lease)), held, version);
  }
}

absl::StatusOr<Record> Snapshot::Get(const Collection& collection, std::string_view id) const {
  const LeaseCall call(*lease_);
  if (!call.ok()) return call.status();
  if (absl::Status status = CheckId(id); !status.ok()) return status;
  const std::string key = EncodeRowKey({.collection = collection.id, .id = id});
  const absl::StatusOr<std::optional<CurrentRow>> row = holdings_->View(version_).Find(key);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return absl::NotFoundError("");
  return Record{std::string(id), (*row)->version,
                Document::FromTrustedBytes(std::string((*row)->payload))};
}

absl::Status Snapshot::Scan(const Collection& collection, const ScanRange& range,
                            absl::FunctionRef<bool(const RecordRef&)> visit) const {
  const LeaseCall call(*lease_);
  if (!call.ok()) return call.status();
  const std::string collection_prefix =
      EncodeCollectionPrefix(Tree::kRecords, kTrunk, collection.id);
  const std::string prefix = absl::StrCat(collection_prefix, ToAbsl(range.prefix));
  std::string end = PrefixSuccessor(prefix);
  if (!range.to.empty()) {
    std::string to = absl::StrCat(collection_prefix, ToAbsl(range.to));
    if (to < end) end = std::move(to);
  }
  std::string start = prefix;
  if (!range.from.empty()) {
    std::string from = absl::StrCat(collection_prefix, ToAbsl(range.from));
    if (from > start) start = std::move(from);
  }
  RowCursor cursor(holdings_->transaction(), holdings_->buffers(), Tree::kRecords, version_);
  const std::string_view end_in_tree = KeyInTree(end);
  const uint64_t end_slice = KeySlice(end_in_tree, 0);
  const auto is_below_end = [&](std::string_view key) {
    const uint64_t slice = KeySlice(key, 0);
    return slice != end_slice ? slice < end_slice : key < end_in_tree;
  };
  const size_t prefix_bytes = KeyInTree(collection_prefix).size();
  for (cursor.Seek(start); cursor.Valid() && is_below_end(cursor.key_in_tree()); cursor.Next()) {
    const RecordRef record{.id = cursor.key_in_tree().substr(prefix_bytes),
                           .version = cursor.version(),
                           .document = cursor.payload()};
    if (!visit(record)) return absl::OkStatus();
    if (lease_->ended()) return lease_->EndedStatus();
  }
  return cursor.status();
}

// LMDB's own count belongs to its transaction, a flush half way through included; what each row of
// L0 adds to it or takes away is found by looking the row up there.
absl::StatusOr<uint64_t> Snapshot::Count(const Collection& collection) const {
  const LeaseCall call(*lease_);
  if (!call.ok()) return call.status();
  const absl::StatusOr<L1State> l1 = ReadL1State(holdings_->transaction());
  if (!l1.ok()) return l1.status();
  int64_t count = l1->RecordCount(kTrunk, collection.id);
  const std::string prefix = EncodeCollectionPrefix(Tree::kRecords, kTrunk, collection.id);
  Cursor records = holdings_->transaction().NewCursor(TreeId::kRecords);
  L0Merge rows(holdings_->buffers(), version_);
  for (rows.Seek(prefix); rows.Valid() && rows.row().key.starts_with(prefix); rows.Next()) {
    if (lease_->ended()) return lease_->EndedStatus();
    const std::string_view key = KeyInTree(rows.row().key);
    records.Seek(key);
    const bool before = records.Valid() && records.key() == key;
    count += (rows.row().tombstone ? 0 : 1) - (before ? 1 : 0);
  }
  if (!records.status().ok()) return records.status();
  return static_cast<uint64_t>(count);
}

absl::StatusOr<Collection> Snapshot::FindCollection(std::string_view name) const {
  const LeaseCall call(*lease_);
  if (!call.ok()) return call.status();
  if (absl::Status status = CheckCollectionName(name); !status.ok()) return status;
  const std::string key = CollectionKey(name);
  RowCursor cursor(holdings_->transaction(), holdings_->buffers(), Tree::kCatalog, version_);
  cursor.Seek(key);
  if (!cursor.status().ok()) return cursor.status();
  if (!cursor.Valid() || cursor.key() != key) {
    return absl::NotFoundError(absl::StrCat("there is no collection '", ToAbsl(name), "'"));
  }
  return ReadCollectionDefinition(name, cursor.payload());
}

absl::StatusOr<std::vector<Collection>> Snapshot::ListCollections() const {
  const LeaseCall call(*lease_);
  if (!call.ok()) return call.status();
  const std::string prefix = AllCollectionsPrefix();
  std::vector<Collection> collections;
  RowCursor cursor(holdings_->transaction(), holdings_->buffers(), Tree::kCatalog, version_);
  for (cursor.Seek(prefix); cursor.Valid() && cursor.key().starts_with(prefix); cursor.Next()) {
    absl::StatusOr<Collection> collection =
        ReadCollectionDefinition(cursor.key().substr(prefix.size()), cursor.payload());
    if (!collection.ok()) return collection.status();
    collections.push_back(*std::move(collection));
  }
  if (!cursor.status().ok()) return cursor.status();
  return collections;
}

// Calls `use` with the lookups of this snapshot, or answers why it has ended.
template <typename Use>
auto Snapshot::WithLookup(Use use) const {
  using Result = decltype(use(std::declval<const Lookup&>()));
  const LeaseCall call(*lease_);
  if (!call.ok()) return Result(call.status());
  const RowView view = holdings_->View(version_);
  const auto ended = [this] { return lease_->ended() ? lease_->EndedStatus() : absl::OkStatus(); };
  return use(Lookup(view, ended));
}

absl::Status Snapshot::Inspect(Inspector use) const {
  const LeaseCall call(*lease_);
  if (!call.ok()) return call.status();
  return use(holdings_->View(version_),
             [this] { return lease_->ended() ? lease_->EndedStatus() : absl::OkStatus(); });
}

absl::StatusOr<IndexDefinition> Snapshot::FindIndex(const Collection& collection,
                                                    std::string_view name) const {
  return WithLookup([&](const Lookup& lookup) { return lookup.FindIndex(collection.id, name); });
}

absl::StatusOr<std::vector<IndexInfo>> Snapshot::ListIndexes() const {
  return WithLookup([](const Lookup& lookup) { return lookup.ListIndexes(); });
}

absl::StatusOr<FoundPage> Snapshot::Find(const IndexDefinition& index, const IndexQuery& query,
                                         absl::FunctionRef<bool(const RecordRef&)> visit) const {
  return WithLookup([&](const Lookup& lookup) {
    return lookup.Find(index, query,
                       [&visit](const Lookup::Found& found) { return visit(RefTo(found)); });
  });
}

absl::StatusOr<Record> Snapshot::FindUnique(const IndexDefinition& index, const IndexValue& value,
                                            std::string_view owner) const {
  if (!index.unique()) {
    return absl::InvalidArgumentError(
        absl::StrCat("index '", index.name,
                     "' may have many records for a value; FindUnique is for unique "
                     "indexes, use Find"));
  }
  std::optional<Record> found;
  const absl::StatusOr<FoundPage> page =
      Find(index, {.equal = value, .owner = std::string(owner), .limit = 1},
           [&found](const RecordRef& record) {
             found = OwnedRecord(record);
             return true;
           });
  if (!page.ok()) return page.status();
  if (!found.has_value()) return absl::NotFoundError("");
  return *std::move(found);
}

absl::StatusOr<uint64_t> Snapshot::CountFound(const IndexDefinition& index,
                                              const IndexQuery& query) const {
  const absl::StatusOr<FoundPage> page =
      Find(index, query, [](const RecordRef& /*record*/) { return true; });
  if (!page.ok()) return page.status();
  return page->count;
}

absl::StatusOr<Relation> Snapshot::FindRelation(std::string_view name) const {
  return WithLookup([&](const Lookup& lookup) { return lookup.FindRelation(name); });
}

absl::StatusOr<FoundPage> Snapshot::FindMany(
    const IndexDefinition& index, const std::vector<IndexValue>& values,
    absl::FunctionRef<bool(size_t, const RecordRef&)> visit, std::string_view owner) const {
  return WithLookup([&](const Lookup& lookup) {
    return lookup.FindMany(
        index, {.values = values, .owner = owner},
        [&visit](size_t value, const Lookup::Found& found) { return visit(value, RefTo(found)); });
  });
}

absl::StatusOr<std::vector<Record>> Snapshot::Sample(const IndexDefinition& index,
                                                     const IndexQuery& query, uint64_t count,
                                                     absl::FunctionRef<uint64_t()> random) const {
  return WithLookup([&](const Lookup& lookup) -> absl::StatusOr<std::vector<Record>> {
    std::vector<Record> records;
    const absl::Status status = lookup.Sample(
        index, {.query = query, .count = count, .random = random},
        [&records](const Lookup::Found& found) { records.push_back(OwnedRecord(RefTo(found))); });
    if (!status.ok()) return status;
    return records;
  });
}

absl::StatusOr<std::vector<IndexedValue>> Snapshot::IndexedIn(const Collection& collection,
                                                              std::string_view id) const {
  return WithLookup([&](const Lookup& lookup) {
    return lookup.IndexedIn({.collection = collection.id, .id = id});
  });
}

absl::Status Snapshot::Memberships(
    const Collection& collection, std::string_view id,
    absl::FunctionRef<bool(const Relation&, const LinkRef&)> visit) const {
  return WithLookup([&](const Lookup& lookup) {
    return lookup.Memberships({.collection = collection.id, .id = id}, visit);
  });
}

absl::StatusOr<std::vector<RelationInfo>> Snapshot::ListRelations() const {
  return WithLookup([](const Lookup& lookup) { return lookup.ListRelations(); });
}

absl::StatusOr<FoundPage> Snapshot::Members(const Relation& relation, std::string_view owner,
                                            const LinkQuery& query,
                                            absl::FunctionRef<bool(const LinkRef&)> visit) const {
  return WithLookup([&](const Lookup& lookup) {
    return lookup.Links(relation, owner, /*of_owner=*/true, query, visit);
  });
}

absl::StatusOr<FoundPage> Snapshot::Owners(const Relation& relation, std::string_view member,
                                           const LinkQuery& query,
                                           absl::FunctionRef<bool(const LinkRef&)> visit) const {
  return WithLookup([&](const Lookup& lookup) {
    return lookup.Links(relation, member, /*of_owner=*/false, query, visit);
  });
}

}  // namespace millrace::storage
