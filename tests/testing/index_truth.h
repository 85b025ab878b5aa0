#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "millrace/storage/environment.h"
#include "millrace/storage/generations.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/index_value.h"
#include "millrace/storage/read_transaction.h"
#include "millrace/storage/record.h"
#include "millrace/storage/relation.h"
#include "millrace/storage/row_view.h"

namespace millrace::testing {

// The entries that a generation of the index should have, worked out from records and links alone.
inline std::set<std::string> EntriesOfRecords(const storage::ReadTransaction& transaction,
                                              const storage::IndexDefinition& index,
                                              storage::Generation generation) {
  std::set<std::string> entries;
  const std::string prefix(storage::KeyInTree(
      storage::EncodeCollectionPrefix(storage::Tree::kRecords, storage::kTrunk, index.collection)));
  const storage::IndexField field(index.field);
  storage::IndexKey value;
  const auto add = [&](std::string_view owner, std::string_view id) {
    std::string entry;
    storage::AppendIndexEntry({.index = index.id,
                               .generation = generation,
                               .owner = owner,
                               .value = value.entry(),
                               .id = id},
                              &entry);
    entries.insert(std::move(entry));
  };
  storage::Cursor row = transaction.NewCursor(storage::TreeId::kRecords);
  for (row.Seek(prefix); row.Valid() && row.key().starts_with(prefix); row.Next()) {
    const storage::RecordView record = *storage::DecodeRecord(row.key(), row.value());
    if (record.tombstone || !field.Extract(record.payload, &value)) continue;
    const std::string_view id = row.key().substr(prefix.size());
    if (!index.scoped()) {
      add({}, id);
      continue;
    }
    const std::string links = storage::MemberRowPrefix(storage::kTrunk, index.scope, id);
    const std::string_view in_tree = storage::KeyInTree(links);
    storage::Cursor link = transaction.NewCursor(storage::TreeId::kRelations);
    for (link.Seek(in_tree); link.Valid() && link.key().starts_with(in_tree); link.Next()) {
      if (*storage::IsLiveLink(link.key(), link.value())) {
        add(link.key().substr(in_tree.size()), id);
      }
    }
  }
  return entries;
}

// What is wrong with the entries that a store holds of the index, all of which must be flushed and
// nothing be under way: they are those of its live generation, and what the records say. "" is
// right. The store must not be open.
inline std::string IndexFault(const std::string& directory, const storage::IndexDefinition& index) {
  auto environment = storage::Environment::Open(
      {.directory = directory, .map_size_bytes = uint64_t{1} << 32, .quota_bytes = 1 << 30});
  if (!environment.ok()) return std::string(environment.status().message());
  const storage::ReadTransaction transaction = *(*environment)->BeginRead();
  const storage::GenerationState state = *storage::ReadGenerations(transaction, index);
  if (state.building != 0) return "a generation is still building";
  if (!state.retired.empty()) return "a retired generation is not deleted";
  std::set<std::string> wanted;
  if (state.live != 0) wanted = EntriesOfRecords(transaction, index, state.live);
  std::string branch;
  storage::AppendOrderedInteger(storage::kTrunk, &branch);
  storage::Cursor row = transaction.NewCursor(storage::TreeId::kIndex);
  for (row.Seek(branch); row.Valid() && row.key().starts_with(branch); row.Next()) {
    const storage::IndexEntry entry = *storage::DecodeIndexEntry(row.key());
    if (entry.index != index.id) continue;
    if (wanted.erase(std::string(row.key())) == 0) {
      return absl::StrCat("entry that no record has: generation ", entry.generation, " of ",
                          state.live, ", record ", std::string(entry.id));
    }
  }
  if (wanted.empty()) return "";
  return absl::StrCat(wanted.size(), " entries are missing, the first of record ",
                      std::string(storage::DecodeIndexEntry(*wanted.begin())->id));
}

}  // namespace millrace::testing
