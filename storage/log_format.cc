#include "millrace/storage/log_format.h"

#include <stdio.h>
#include <string.h>

#include <bit>

#include "xxhash.h"

namespace millrace::storage {
namespace {

static_assert(std::endian::native == std::endian::little, "the log is written in memory order");

constexpr size_t kChecksumOffset = 8;
constexpr size_t kChecksummedOffset = 16;
// A group buffer that grew beyond this is given back when its group is written.
constexpr size_t kKeptBufferBytesMax = 4 << 20;

template <typename T>
T Load(const char* from) {
  T value;
  memcpy(&value, from, sizeof(value));
  return value;
}

template <typename T>
void Store(T value, char* to) {
  memcpy(to, &value, sizeof(value));
}

uint64_t Checksum(const char* record, size_t length) {
  return XXH3_64bits_withSeed(record + kChecksummedOffset, length - kChecksummedOffset,
                              Load<uint64_t>(record));
}

// Whether the lengths of the batches fill the record exactly. Cheap, so it goes before the
// checksum.
bool BatchesFit(const char* record, const GroupHeader& header) {
  size_t at = kGroupHeaderBytes;
  for (uint32_t i = 0; i < header.batch_count; ++i) {
    if (header.length - at < kBatchHeaderBytes) return false;
    const auto size = Load<uint32_t>(record + at);
    at += kBatchHeaderBytes;
    if (header.length - at < size) return false;
    at += size;
  }
  return at == header.length;
}

std::optional<uint64_t> ParseName(std::string_view name, std::string_view prefix) {
  constexpr size_t kDigits = 20;
  constexpr std::string_view kSuffix = ".log";
  if (name.size() != prefix.size() + kDigits + kSuffix.size()) return std::nullopt;
  if (name.substr(0, prefix.size()) != prefix) return std::nullopt;
  if (name.substr(prefix.size() + kDigits) != kSuffix) return std::nullopt;
  uint64_t number = 0;
  for (const char digit : name.substr(prefix.size(), kDigits)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    if (__builtin_mul_overflow(number, uint64_t{10}, &number)) return std::nullopt;
    if (__builtin_add_overflow(number, uint64_t(digit - '0'), &number)) return std::nullopt;
  }
  if (number == 0 || number > kFileNumberMax) return std::nullopt;
  return number;
}

std::string NumberedName(const char* prefix, uint64_t number) {
  char name[64];
  snprintf(name, sizeof(name), "%s%020llu.log", prefix, static_cast<unsigned long long>(number));
  return name;
}

}  // namespace

void SealGroup(const GroupHeader& header, char* record) {
  Store(header.length, record);
  Store(header.batch_count, record + 4);
  Store(header.file_number, record + 16);
  Store(header.first_version, record + 24);
  Store(header.durable_version, record + 32);
  Store(Checksum(record, header.length), record + kChecksumOffset);
}

GroupHeader PeekGroupHeader(const char* record) {
  return {.length = Load<uint32_t>(record),
          .batch_count = Load<uint32_t>(record + 4),
          .file_number = Load<uint64_t>(record + 16),
          .first_version = Load<uint64_t>(record + 24),
          .durable_version = Load<uint64_t>(record + 32)};
}

LogRecord ReadAnyLogRecord(std::string_view data, size_t offset) {
  LogRecord found;
  if (offset > data.size() || data.size() - offset < kGroupHeaderBytes) return found;
  const char* record = data.data() + offset;
  const GroupHeader& header = found.header = PeekGroupHeader(record);
  if (header.length < kGroupHeaderBytes || header.length > data.size() - offset) return found;
  if (!BatchesFit(record, header)) return found;
  if (Load<uint64_t>(record + kChecksumOffset) != Checksum(record, header.length)) return found;
  found.kind = RecordKind::kGroup;
  return found;
}

LogRecord ReadLogRecord(std::string_view data, size_t offset, uint64_t file_number) {
  LogRecord found = ReadAnyLogRecord(data, offset);
  const size_t left = offset > data.size() ? 0 : data.size() - offset;
  const bool ours = left >= kGroupHeaderBytes && found.header.file_number == file_number;
  if (found.kind == RecordKind::kGroup) {
    if (!ours) found.kind = RecordKind::kForeign;
  } else if (left >= kEndMarkBytes && Load<uint32_t>(data.data() + offset) == 0) {
    // Nothing of this file ever stands right behind its end mark, unless the write that should have
    // replaced the mark arrived in part.
    if (!ours) found.kind = RecordKind::kEnd;
  } else if (left >= kGroupHeaderBytes && !ours) {
    found.kind = RecordKind::kForeign;
  }
  return found;
}

void ForEachBatch(std::string_view record, absl::FunctionRef<bool(std::string_view)> each) {
  size_t at = kGroupHeaderBytes;
  while (at < record.size()) {
    const auto size = Load<uint32_t>(record.data() + at);
    at += kBatchHeaderBytes;
    if (!each(record.substr(at, size))) return;
    at += size;
  }
}

std::string LogFileName(uint64_t number) {
  return NumberedName("", number);
}
std::string SpareFileName(uint64_t number) {
  return NumberedName("spare-", number);
}

std::optional<uint64_t> ParseLogFileName(std::string_view name) {
  return ParseName(name, "");
}
std::optional<uint64_t> ParseSpareFileName(std::string_view name) {
  return ParseName(name, "spare-");
}

std::string& LogGroup::OpenBatch() {
  batch_begin_ = buffer_.size();
  buffer_.append(kBatchHeaderBytes, '\0');
  return buffer_;
}

std::string_view LogGroup::CloseBatch() {
  const size_t begin = batch_begin_ + kBatchHeaderBytes;
  const size_t size = buffer_.size() - begin;
  Store(static_cast<uint32_t>(size), buffer_.data() + batch_begin_);
  batch_begin_ = 0;
  ++batch_count_;
  return std::string_view(buffer_).substr(begin, size);
}

void LogGroup::AbandonBatch() {
  buffer_.resize(batch_begin_);
  batch_begin_ = 0;
}

void LogGroup::Add(std::string_view effects) {
  OpenBatch().append(effects);
  CloseBatch();
}

void LogGroup::Clear(Version first_version) {
  first_version_ = first_version;
  batch_count_ = 0;
  batch_begin_ = 0;
  if (buffer_.capacity() > kKeptBufferBytesMax) std::string().swap(buffer_);
  buffer_.resize(kGroupHeaderBytes);
}

}  // namespace millrace::storage
