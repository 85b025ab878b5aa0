#include "millrace/storage/snapshot.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/catalog.h"
#include "millrace/storage/current_rows.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/l0_merge.h"
#include "millrace/storage/live_view.h"
#include "millrace/storage/meta.h"
#include "millrace/storage/record.h"
#include "millrace/storage/row_cursor.h"

namespace millrace::storage {

struct Snapshot::State {
  Version version = kNoVersion;
  std::shared_ptr<const BufferList> buffers;
  ReadTransaction transaction;
};

Snapshot::Snapshot(std::unique_ptr<State> state) : state_(std::move(state)) {
}
Snapshot::Snapshot(Snapshot&&) noexcept = default;
Snapshot& Snapshot::operator=(Snapshot&&) noexcept = default;
Snapshot::~Snapshot() = default;

// The published version first, the buffers second, LMDB third; see LiveView. If a flush has already
// brought something newer than the version into LMDB, the version has moved on too: start again.
absl::StatusOr<Snapshot> Snapshot::Take(Environment& environment, const LiveView& view,
                                        std::string_view owner) {
  for (;;) {
    const Version version = view.published();
    std::shared_ptr<const BufferList> buffers = view.buffers();
    absl::StatusOr<ReadTransaction> transaction = environment.BeginRead();
    if (!transaction.ok()) return transaction.status();
    const absl::StatusOr<Version> ingested = ReadIngestedVersion(*transaction);
    if (!ingested.ok()) return ingested.status();
    if (*ingested > version) continue;
    return Snapshot(
        std::make_unique<State>(State{version, std::move(buffers), *std::move(transaction)}));
  }
}

Version Snapshot::version() const {
  return state_->version;
}

absl::StatusOr<Record> Snapshot::Get(const Collection& collection, std::string_view id) const {
  if (absl::Status status = CheckId(id); !status.ok()) return status;
  const std::string key = EncodeRowKey({.collection = collection.id, .id = id});
  for (const auto& buffer : *state_->buffers) {
    L0Row row;
    if (!buffer->Find(key, state_->version, &row)) continue;
    if (row.tombstone) return absl::NotFoundError("");
    return Record{std::string(id), row.version, Document::FromTrustedBytes(std::string(row.value))};
  }
  const auto value = state_->transaction.Get(TreeId::kRecords, KeyInTree(key));
  if (!value.ok()) return value.status();
  if (!value->has_value()) return absl::NotFoundError("");
  const absl::StatusOr<RecordView> record = DecodeRecord(KeyInTree(key), **value);
  if (!record.ok()) return record.status();
  if (record->tombstone) return absl::NotFoundError("");
  return Record{std::string(id), record->version,
                Document::FromTrustedBytes(std::string(record->payload))};
}

absl::Status Snapshot::Scan(const Collection& collection, const ScanRange& range,
                            absl::FunctionRef<bool(const RecordRef&)> visit) const {
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
  RowCursor cursor(state_->transaction, *state_->buffers, Tree::kRecords, state_->version);
  for (cursor.Seek(start); cursor.Valid() && cursor.key() < end; cursor.Next()) {
    const RecordRef record{.id = cursor.key().substr(collection_prefix.size()),
                           .version = cursor.version(),
                           .document = cursor.payload()};
    if (!visit(record)) return absl::OkStatus();
  }
  return cursor.status();
}

// LMDB's own count belongs to its transaction, a flush half way through included; what each row of
// L0 adds to it or takes away is found by looking the row up there.
absl::StatusOr<uint64_t> Snapshot::Count(const Collection& collection) const {
  const absl::StatusOr<L1State> l1 = ReadL1State(state_->transaction);
  if (!l1.ok()) return l1.status();
  int64_t count = l1->RecordCount(kTrunk, collection.id);
  const std::string prefix = EncodeCollectionPrefix(Tree::kRecords, kTrunk, collection.id);
  Cursor records = state_->transaction.NewCursor(TreeId::kRecords);
  L0Merge rows(*state_->buffers, state_->version);
  for (rows.Seek(prefix); rows.Valid() && rows.row().key.starts_with(prefix); rows.Next()) {
    const std::string_view key = KeyInTree(rows.row().key);
    records.Seek(key);
    const bool before = records.Valid() && records.key() == key;
    count += (rows.row().tombstone ? 0 : 1) - (before ? 1 : 0);
  }
  if (!records.status().ok()) return records.status();
  return static_cast<uint64_t>(count);
}

absl::StatusOr<Collection> Snapshot::FindCollection(std::string_view name) const {
  if (absl::Status status = CheckCollectionName(name); !status.ok()) return status;
  const std::string key = CollectionKey(name);
  RowCursor cursor(state_->transaction, *state_->buffers, Tree::kCatalog, state_->version);
  cursor.Seek(key);
  if (!cursor.status().ok()) return cursor.status();
  if (!cursor.Valid() || cursor.key() != key) {
    return absl::NotFoundError(absl::StrCat("there is no collection '", ToAbsl(name), "'"));
  }
  return ReadCollectionDefinition(name, cursor.payload());
}

absl::StatusOr<std::vector<Collection>> Snapshot::ListCollections() const {
  const std::string prefix = AllCollectionsPrefix();
  std::vector<Collection> collections;
  RowCursor cursor(state_->transaction, *state_->buffers, Tree::kCatalog, state_->version);
  for (cursor.Seek(prefix); cursor.Valid() && cursor.key().starts_with(prefix); cursor.Next()) {
    absl::StatusOr<Collection> collection =
        ReadCollectionDefinition(cursor.key().substr(prefix.size()), cursor.payload());
    if (!collection.ok()) return collection.status();
    collections.push_back(*std::move(collection));
  }
  if (!cursor.status().ok()) return cursor.status();
  return collections;
}

}  // namespace millrace::storage
