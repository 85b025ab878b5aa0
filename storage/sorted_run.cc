#include "millrace/storage/sorted_run.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <xxhash.h>

namespace millrace::storage {
namespace {

constexpr char kBadRunPayload[] = "millrace/bad-run";
constexpr absl::string_view kSuffix = ".run";

struct BlockHeader {
  uint64_t checksum = 0;
  uint32_t length = 0;
  uint32_t entry_count = 0;
};
static_assert(sizeof(BlockHeader) == kRunBlockHeaderBytes);

// A block that lies in another place, or in another run, is noticed.
uint64_t BlockChecksum(const RunId& run, uint64_t block, std::string_view bytes) {
  const uint64_t place[3] = {run.task, run.number, block};
  bytes.remove_prefix(sizeof(BlockHeader::checksum));
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), XXH3_64bits(place, sizeof(place)));
}

std::optional<RunId> ParseRunName(std::string_view name) {
  const std::vector<absl::string_view> parts =
      absl::StrSplit(ToAbsl(name), absl::MaxSplits('.', 2));
  RunId run;
  if (parts.size() != 3 || parts[2] != kSuffix.substr(1) ||
      !absl::SimpleAtoi(parts[0], &run.task) || !absl::SimpleAtoi(parts[1], &run.number)) {
    return std::nullopt;
  }
  return run;
}

size_t SharedPrefix(std::string_view one, std::string_view other) {
  const size_t size = std::min(one.size(), other.size());
  return static_cast<size_t>(std::mismatch(one.begin(), one.begin() + size, other.begin()).first -
                             one.begin());
}

absl::Status BadRun(std::string_view path, std::string_view what) {
  absl::Status status = absl::DataLossError(absl::StrCat(
      "sorted run ", ToAbsl(path), " ", ToAbsl(what), "; the index build reads its source again"));
  status.SetPayload(kBadRunPayload, absl::Cord(ToAbsl(path)));
  return status;
}

}  // namespace

bool IsBadRun(const absl::Status& status) {
  return status.GetPayload(kBadRunPayload).has_value();
}

absl::Status RunDirectory::Prepare() {
  absl::Status status = files_.CreateDirectory(path_);
  if (!status.ok()) return status;
  return files_.SyncDirectory(ParentDirectory(path_));
}

absl::Status RunDirectory::Remove(const RunId& run) {
  absl::Status status = files_.Remove(PathOf(run));
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::StatusOr<std::vector<RunId>> RunDirectory::List() {
  const absl::StatusOr<std::vector<std::string>> names = files_.List(path_);
  if (!names.ok()) return names.status();
  std::vector<RunId> runs;
  for (const std::string& name : *names) {
    if (const std::optional<RunId> run = ParseRunName(name)) runs.push_back(*run);
  }
  std::sort(runs.begin(), runs.end(), [](const RunId& one, const RunId& other) {
    return std::pair(one.task, one.number) < std::pair(other.task, other.number);
  });
  return runs;
}

std::string RunDirectory::PathOf(const RunId& run) const {
  return JoinPath(path_, absl::StrCat(run.task, ".", run.number, kSuffix));
}

absl::StatusOr<RunWriter> RunWriter::Create(RunDirectory& directory, const RunId& run) {
  if (absl::Status status = directory.Remove(run); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<File>> file =
      directory.files().Open(directory.PathOf(run), OpenMode::kCreateNew);
  if (!file.ok()) return file.status();
  return RunWriter(directory, run, *std::move(file));
}

RunWriter::RunWriter(RunDirectory& directory, const RunId& run, std::unique_ptr<File> file)
    : directory_(&directory), run_(run), info_{.number = run.number}, file_(std::move(file)) {
  block_.reserve(kRunBlockBytes);
  block_.resize(kRunBlockHeaderBytes);
}

absl::Status RunWriter::Add(const RunEntry& entry) {
  constexpr size_t kNumbersMax = 3 * 9;
  if (entry.key.size() > kRunKeyBytesMax) {
    return absl::InternalError(
        absl::StrCat("a sorted run's key of ", entry.key.size(), " bytes is too long"));
  }
  if (block_.size() + kNumbersMax + entry.key.size() > kRunBlockBytes) {
    if (absl::Status status = WriteBlock(); !status.ok()) return status;
  }
  const size_t shared = block_entry_count_ == 0 ? 0 : SharedPrefix(last_key_, entry.key);
  AppendOrderedInteger(shared, &block_);
  AppendOrderedInteger(entry.key.size() - shared, &block_);
  AppendOrderedInteger(entry.version, &block_);
  block_.append(entry.key.substr(shared));
  last_key_.resize(shared);
  last_key_.append(entry.key.substr(shared));
  ++block_entry_count_;
  return absl::OkStatus();
}

absl::StatusOr<RunInfo> RunWriter::Finish(bool sync) {
  absl::Status status;
  if (block_entry_count_ > 0) status = WriteBlock();
  if (status.ok() && sync) status = file_->Sync();
  if (status.ok() && sync) {
    status = directory_->files().SyncDirectory(ParentDirectory(file_->path()));
  }
  if (!status.ok()) return status;
  return info_;
}

absl::Status RunWriter::WriteBlock() {
  BlockHeader header{.length = static_cast<uint32_t>(block_.size()),
                     .entry_count = block_entry_count_};
  std::memcpy(block_.data(), &header, sizeof(header));
  header.checksum = BlockChecksum(run_, info_.block_count, block_);
  std::memcpy(block_.data(), &header.checksum, sizeof(header.checksum));
  absl::Status status = file_->Write(info_.block_count * kRunBlockBytes, block_);
  if (!status.ok()) return status;
  ++info_.block_count;
  info_.entry_count += block_entry_count_;
  block_entry_count_ = 0;
  block_.resize(kRunBlockHeaderBytes);
  return absl::OkStatus();
}

absl::StatusOr<RunReader> RunReader::Open(RunDirectory& directory, uint64_t task,
                                          const RunInfo& info) {
  const RunId run{.task = task, .number = info.number};
  const std::string path = directory.PathOf(run);
  absl::StatusOr<std::unique_ptr<File>> file = directory.files().Open(path, OpenMode::kRead);
  if (absl::IsNotFound(file.status())) return BadRun(path, "is missing");
  if (!file.ok()) return file.status();
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  // All blocks but the last are whole: what their number says of the size.
  const uint64_t block_count = (*size + kRunBlockBytes - 1) / kRunBlockBytes;
  const uint64_t last_bytes = *size - (block_count == 0 ? 0 : (block_count - 1) * kRunBlockBytes);
  if (block_count != info.block_count || (block_count > 0 && last_bytes < kRunBlockHeaderBytes)) {
    return BadRun(path, absl::StrCat("has ", *size, " bytes, which are not its ", info.block_count,
                                     " blocks"));
  }
  return RunReader(run, info, *std::move(file));
}

RunReader::RunReader(const RunId& run, const RunInfo& info, std::unique_ptr<File> file)
    : run_(run), info_(info), file_(std::move(file)) {
}

void RunReader::SeekToFirst() {
  SeekToBlock(0);
}

void RunReader::SeekToBlock(uint64_t block) {
  valid_ = false;
  if (!status_.ok() || block >= info_.block_count) return;
  if (LoadBlock(block)) Next();
}

// Finds the last block whose first key is not above `key`, then walks it.
void RunReader::SeekAfter(std::string_view key) {
  valid_ = false;
  uint64_t first = 0;  // The answer is in [first, last).
  uint64_t last = info_.block_count;
  while (status_.ok() && last - first > 1) {
    const uint64_t middle = first + (last - first) / 2;
    if (!LoadBlock(middle) || !ReadEntry()) return;
    (key_ <= key ? first : last) = middle;
  }
  if (!status_.ok() || info_.block_count == 0 || !LoadBlock(first)) return;
  do {
    Next();
  } while (valid_ && key_ <= key);
}

void RunReader::Next() {
  valid_ = false;
  while (entries_left_ == 0) {
    if (!status_.ok() || block_number_ + 1 >= info_.block_count) return;
    if (!LoadBlock(block_number_ + 1)) return;
  }
  valid_ = ReadEntry();
}

bool RunReader::LoadBlock(uint64_t number) {
  block_.resize(kRunBlockBytes);
  const absl::StatusOr<size_t> got =
      file_->Read(number * kRunBlockBytes, kRunBlockBytes, block_.data());
  if (!got.ok()) {
    Fail(got.status());
    return false;
  }
  BlockHeader header;
  if (*got >= sizeof(header)) std::memcpy(&header, block_.data(), sizeof(header));
  // The bytes behind the last block are nobody's.
  const bool last = number + 1 == info_.block_count;
  if (*got < sizeof(header) || header.length < sizeof(header) || header.length > *got ||
      (last && header.length != *got) ||
      header.checksum != BlockChecksum(run_, number, {block_.data(), header.length})) {
    Fail(BadRun(file_->path(), absl::StrCat("is damaged in block ", number)));
    return false;
  }
  block_number_ = number;
  rest_ = std::string_view(block_).substr(sizeof(header), header.length - sizeof(header));
  entries_left_ = header.entry_count;
  key_.clear();
  return true;
}

bool RunReader::ReadEntry() {
  uint64_t shared = 0;
  uint64_t own = 0;
  if (entries_left_ == 0 || !ConsumeOrderedInteger(&rest_, &shared) ||
      !ConsumeOrderedInteger(&rest_, &own) || !ConsumeOrderedInteger(&rest_, &version_) ||
      shared > key_.size() || own > rest_.size()) {
    // The checksum is right, so this is what was written.
    Fail(BadRun(file_->path(), absl::StrCat("holds no entries in block ", block_number_)));
    return false;
  }
  key_.resize(shared);
  key_.append(rest_.substr(0, own));
  rest_.remove_prefix(own);
  --entries_left_;
  return true;
}

void RunReader::Fail(absl::Status status) {
  status_ = std::move(status);
  valid_ = false;
  entries_left_ = 0;
}

}  // namespace millrace::storage
