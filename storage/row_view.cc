#include "millrace/storage/row_view.h"

#include "millrace/storage/record.h"

namespace millrace::storage {

TreeId TreeOf(std::string_view row_key) {
  switch (static_cast<Tree>(row_key.front())) {
    case Tree::kCatalog:
      return TreeId::kCatalog;
    case Tree::kRelations:
      return TreeId::kRelations;
    case Tree::kRecords:
    case Tree::kCandidates:  // In no tree; nobody asks for theirs.
      break;
  }
  return TreeId::kRecords;
}

std::string_view KeyInTree(std::string_view row_key) {
  return row_key.substr(1);
}

bool FindInL0(const BufferList& buffers, std::string_view row_key, Version version, L0Row* row) {
  for (const auto& buffer : buffers) {
    if (buffer->Find(row_key, version, row)) return true;
  }
  return false;
}

absl::StatusOr<std::optional<CurrentRow>> FindInLmdb(const ReadTransaction& transaction,
                                                     std::string_view row_key) {
  const std::string_view key = KeyInTree(row_key);
  const absl::StatusOr<std::optional<std::string_view>> value =
      transaction.Get(TreeOf(row_key), key);
  if (!value.ok()) return value.status();
  if (!value->has_value()) return std::nullopt;
  const absl::StatusOr<RecordView> record = DecodeRecord(key, **value);
  if (!record.ok()) return record.status();
  if (record->tombstone) return std::nullopt;
  return CurrentRow{.version = record->version, .payload = record->payload};
}

absl::StatusOr<std::optional<CurrentRow>> RowView::Find(std::string_view row_key) const {
  L0Row row;
  if (!FindInL0(buffers_, row_key, version_, &row)) return FindInLmdb(transaction_, row_key);
  if (row.tombstone) return std::nullopt;
  return CurrentRow{.version = row.version, .payload = row.value};
}

bool RowView::DeletedSince(std::string_view row_key, Version since) const {
  L0Row row;
  for (const auto& buffer : buffers_) {
    if (buffer->last_version() != kNoVersion && buffer->last_version() <= since) break;
    if (!buffer->Find(row_key, version_, &row)) continue;
    while (row.version > since) {
      if (row.tombstone) return true;
      if (!buffer->Find(row_key, row.version - 1, &row)) break;
    }
  }
  return false;
}

absl::StatusOr<bool> RowView::EndsLive(const Relation& relation, const LinkEnds& ends,
                                       Version linked) const {
  const RowKey keys[] = {
      {.branch = ends.branch, .collection = relation.owners, .id = ends.owner},
      {.branch = ends.branch, .collection = relation.members, .id = ends.member}};
  for (const RowKey& end : keys) {
    const std::string key = EncodeRowKey(end);
    const absl::StatusOr<std::optional<CurrentRow>> row = Find(key);
    if (!row.ok()) return row.status();
    if (!row->has_value()) return false;
    // A record that is as old as the link, or older, was not deleted in between.
    if ((*row)->version > linked && DeletedSince(key, linked)) return false;
  }
  return true;
}

absl::StatusOr<std::optional<RowView::Link>> RowView::FindLink(const Relation& relation,
                                                               const LinkEnds& ends) const {
  const absl::StatusOr<std::optional<CurrentRow>> row = Find(MemberRowKey(ends));
  if (!row.ok()) return row.status();
  if (!row->has_value()) return std::nullopt;
  const absl::StatusOr<bool> live = EndsLive(relation, ends, (*row)->version);
  if (!live.ok()) return live.status();
  if (!*live) return std::nullopt;
  const absl::StatusOr<LinkData> data = DecodeLinkData((*row)->payload);
  if (!data.ok()) return data.status();
  return Link{.version = (*row)->version, .data = *data};
}

}  // namespace millrace::storage
