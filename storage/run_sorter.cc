#include "millrace/storage/run_sorter.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "glog/logging.h"

#include "millrace/storage/l0_row.h"

namespace millrace::storage {

RunSorter::RunSorter(size_t bytes_max) : bytes_max_(std::min(bytes_max, size_t{1} << 30)) {
}

void RunSorter::Add(const RunEntry& entry) {
  CHECK_LE(bytes_.size(), std::numeric_limits<uint32_t>::max());
  if (items_.empty()) {
    shared_ = entry.key.size();
  } else {
    const std::string_view first = EntryOf(items_.front()).key;
    const size_t size = std::min(shared_, entry.key.size());
    shared_ = static_cast<size_t>(
        std::mismatch(first.begin(), first.begin() + size, entry.key.begin()).first -
        first.begin());
  }
  items_.push_back({.slice = 0,
                    .offset = static_cast<uint32_t>(bytes_.size()),
                    .key_size = static_cast<uint32_t>(entry.key.size())});
  bytes_.append(reinterpret_cast<const char*>(&entry.version), sizeof(entry.version));
  bytes_.append(entry.key);
}

absl::StatusOr<RunInfo> RunSorter::WriteRun(RunDirectory& directory, const RunId& run, bool sync) {
  Sort();
  absl::StatusOr<RunWriter> writer = RunWriter::Create(directory, run);
  if (!writer.ok()) return writer.status();
  for (const Item& item : items_) {
    if (absl::Status status = writer->Add(EntryOf(item)); !status.ok()) return status;
  }
  absl::StatusOr<RunInfo> info = writer->Finish(sync);
  if (info.ok()) Clear();
  return info;
}

void RunSorter::Clear() {
  bytes_.clear();
  items_.clear();
  shared_ = 0;
}

RunEntry RunSorter::EntryOf(const Item& item) const {
  Version version;
  std::memcpy(&version, bytes_.data() + item.offset, sizeof(version));
  return {.key = std::string_view(bytes_).substr(item.offset + sizeof(version), item.key_size),
          .version = version};
}

void RunSorter::Sort() {
  for (Item& item : items_) item.slice = KeySlice(EntryOf(item).key, shared_);
  std::sort(items_.begin(), items_.end(), [this](const Item& one, const Item& other) {
    if (one.slice != other.slice) return one.slice < other.slice;
    return EntryOf(one) < EntryOf(other);
  });
}

}  // namespace millrace::storage
