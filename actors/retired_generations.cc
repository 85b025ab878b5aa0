#include "millrace/actors/retired_generations.h"

#include <algorithm>
#include <string>
#include <utility>

#include "millrace/storage/index_entry.h"
#include "millrace/storage/row_key.h"

namespace millrace {
namespace {

using storage::Generation;
using storage::IndexId;
using storage::TreeId;

// So many entries are deleted by one slice, a few milliseconds of the Writer's time, or fewer
// while clients commit; but as many as lie in a page.
constexpr size_t kDeletedMax = 4'000;
constexpr size_t kDeletedBytesMin = size_t{4} << 10;

}  // namespace

void RetiredGenerations::Add(const storage::IndexDefinition& definition,
                             const storage::GenerationState& state) {
  for (const Generation generation : state.retired) {
    retired_.try_emplace({state.index, generation}, Retired{.definition = definition});
  }
  if (!retired_.empty()) host_.WorkAgain();
}

void RetiredGenerations::Work() {
  if (under_way_ || retired_.empty()) return;
  auto& [id, retired] = *retired_.begin();
  if (!retired.fenced) {
    under_way_ = true;
    return host_.FenceRetired([this, id = id](absl::StatusOr<FlushReceipt> receipt) {
      under_way_ = false;
      if (!receipt.ok()) return host_.WorkLater(receipt.status());
      retired_[id].fenced = true;
      host_.WorkAgain();
    });
  }
  absl::StatusOr<DeleteEntries> remove = Read(id, retired.definition);
  if (absl::IsNotFound(remove.status())) {
    retired_.erase(retired_.begin());
    return host_.WorkAgain();
  }
  if (!remove.ok()) return host_.WorkLater(remove.status());
  under_way_ = true;
  host_.Delete(*std::move(remove), [this](absl::StatusOr<GenerationsRetired> removed) {
    under_way_ = false;
    if (!removed.ok()) return host_.WorkLater(removed.status());
    host_.WorkAgain();
  });
}

// NotFound: it is no longer retired, for it is forgotten.
absl::StatusOr<DeleteEntries> RetiredGenerations::Read(const Id& id,
                                                       const storage::IndexDefinition& definition) {
  const absl::StatusOr<storage::ReadTransaction> transaction = environment_.BeginRead();
  if (!transaction.ok()) return transaction.status();
  const absl::StatusOr<storage::GenerationState> state =
      storage::ReadGenerations(*transaction, definition);
  if (!state.ok()) return state.status();
  if (!state->IsRetired(id.second)) return absl::NotFoundError("");
  DeleteEntries remove{.definition = definition, .generation = id.second};
  const size_t bytes_max = std::max(host_.TransactionBytesMax(), kDeletedBytesMin);
  const std::string prefix = storage::IndexGenerationPrefix(storage::kTrunk, id.first, id.second);
  storage::Cursor row = transaction->NewCursor(TreeId::kIndex);
  for (row.Seek(prefix); row.Valid() && row.key().starts_with(prefix); row.Next()) {
    if (remove.entries.size() == kDeletedMax || remove.entries.bytes() >= bytes_max) return remove;
    remove.entries.Add({.key = row.key()});
  }
  if (!row.status().ok()) return row.status();
  remove.last = true;
  return remove;
}

absl::StatusOr<std::map<IndexId, std::vector<Generation>>> FindGenerations(
    const storage::ReadTransaction& transaction) {
  std::map<IndexId, std::vector<Generation>> found;
  std::string branch;
  storage::AppendOrderedInteger(storage::kTrunk, &branch);
  std::string next = branch;
  storage::Cursor row = transaction.NewCursor(TreeId::kIndex);
  for (row.Seek(next); row.Valid() && row.key().starts_with(branch); row.Seek(next)) {
    storage::IndexEntry entry;
    if (!storage::PeekIndexEntry(row.key(), &entry)) {
      return absl::DataLossError("an index entry in store.mdb is damaged; rebuild the indexes");
    }
    found[entry.index].push_back(entry.generation);
    next = storage::PrefixSuccessor(
        storage::IndexGenerationPrefix(storage::kTrunk, entry.index, entry.generation));
  }
  if (!row.status().ok()) return row.status();
  return found;
}

}  // namespace millrace
