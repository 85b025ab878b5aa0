#include "millrace/storage/index_entry.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace millrace::storage {
namespace {

static_assert(3 * 9 + 2 + kLinkIdsBytesMax + kIndexValueBytesMax <= kIndexEntryBytesMax);
static_assert(3 * 9 + 1 + kIdBytesMax + kIndexValueBytesMax <= kIndexEntryBytesMax);

}  // namespace

std::string IndexGenerationPrefix(BranchId branch, IndexId index, Generation generation) {
  std::string prefix;
  AppendOrderedInteger(branch, &prefix);
  AppendOrderedInteger(index, &prefix);
  AppendOrderedInteger(generation, &prefix);
  return prefix;
}

std::string IndexOwnerPrefix(BranchId branch, IndexId index, Generation generation,
                             std::string_view owner) {
  std::string prefix = IndexGenerationPrefix(branch, index, generation);
  AppendOrderedInteger(owner.size(), &prefix);
  prefix.append(owner);
  return prefix;
}

void AppendIndexEntry(const IndexEntry& entry, std::string* out) {
  AppendOrderedInteger(entry.branch, out);
  AppendOrderedInteger(entry.index, out);
  AppendOrderedInteger(entry.generation, out);
  AppendOrderedInteger(entry.owner.size(), out);
  out->append(entry.owner);
  out->append(entry.value);
  out->append(entry.id);
}

bool PeekIndexEntry(std::string_view key, IndexEntry* entry) {
  return ConsumeOrderedInteger(&key, &entry->branch) &&
         ConsumeOrderedInteger(&key, &entry->index) &&
         ConsumeOrderedInteger(&key, &entry->generation);
}

absl::StatusOr<IndexEntry> DecodeIndexEntry(std::string_view key) {
  IndexEntry entry;
  std::string_view rest = key;
  uint64_t owner_size = 0;
  if (ConsumeOrderedInteger(&rest, &entry.branch) && ConsumeOrderedInteger(&rest, &entry.index) &&
      ConsumeOrderedInteger(&rest, &entry.generation) &&
      ConsumeOrderedInteger(&rest, &owner_size) && owner_size <= rest.size()) {
    entry.owner = rest.substr(0, owner_size);
    rest.remove_prefix(owner_size);
    std::string_view id = rest;
    if (SkipIndexValue(&id) && !id.empty()) {
      entry.value = rest.substr(0, rest.size() - id.size());
      entry.id = id;
      return entry;
    }
  }
  return absl::DataLossError(absl::StrCat("index entry ", absl::BytesToHexString(ToAbsl(key)),
                                          " is damaged; rebuild the index"));
}

std::string CandidatePrefix(BranchId branch, IndexId index) {
  return EncodeCollectionPrefix(Tree::kCandidates, branch, index);
}

void AppendCandidate(BranchId branch, IndexId index, std::string_view value, std::string_view id,
                     std::string* out) {
  out->push_back(static_cast<char>(Tree::kCandidates));
  AppendOrderedInteger(branch, out);
  AppendOrderedInteger(index, out);
  out->append(value);
  out->append(id);
}

}  // namespace millrace::storage
