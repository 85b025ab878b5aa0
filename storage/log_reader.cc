#include "millrace/storage/log_reader.h"

#include <string.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

// How the end of the last file is judged.
//
// Reading stops at the first place that holds no group of the file; call the version wanted there
// E. Three witnesses can say that a group with E was durable: LMDB, which never holds a version
// before the log does; a later good group of the file, found by searching the rest of it for the
// file's number, whose `durable` field reaches E; and the opening of a file that recovery wrote,
// which was synced whole before it got its name. If one says so, the place is damaged. If none
// does, what stands there was promised to nobody as durable, and goes.
//
// In any other file, what is neither a group nor an end is damage, because a file is synced before
// the next one is used; and a file that ends too early is found by the first version of the next.

namespace millrace::storage {
namespace {

// The offset of the first group at or behind `offset` that carries `number` (not 0); what stands
// between is skipped. nullopt if there is none. It looks for one byte of the number that is not
// zero, because most of what it searches is: memchr passes that at memory speed, memmem does not.
std::optional<size_t> FindGroup(std::string_view data, size_t offset, uint64_t number) {
  constexpr size_t kNumberOffset = 16;
  const size_t wanted_index = static_cast<size_t>(std::countr_zero(number)) / 8;
  const int wanted = static_cast<int>(number >> (8 * wanted_index) & 0xff);
  size_t at = offset + kNumberOffset + wanted_index;
  while (at < data.size()) {
    const void* found = memchr(data.data() + at, wanted, data.size() - at);
    if (found == nullptr) return std::nullopt;
    at = static_cast<size_t>(static_cast<const char*>(found) - data.data());
    const size_t candidate = at - wanted_index - kNumberOffset;
    if (data.size() - candidate < kGroupHeaderBytes) return std::nullopt;
    if (PeekGroupHeader(data.data() + candidate).file_number == number &&
        ReadLogRecord(data, candidate, number).kind == RecordKind::kGroup) {
      return candidate;
    }
    ++at;
  }
  return std::nullopt;
}

// Good groups behind the place where reading stopped.
struct LaterGroups {
  bool any = false;
  Version first_version = kNoVersion;    // Of the first of them.
  Version durable_version = kNoVersion;  // The newest that any of them calls durable.
  size_t end_offset = 0;
};

LaterGroups FindLaterGroups(std::string_view data, size_t offset, uint64_t number) {
  LaterGroups later;
  std::optional<size_t> at = FindGroup(data, offset, number);
  while (at.has_value()) {
    const GroupHeader header = ReadLogRecord(data, *at, number).header;
    if (!later.any) later.first_version = header.first_version;
    later.any = true;
    later.durable_version = std::max(later.durable_version, header.durable_version);
    later.end_offset = *at + header.length;
    at = FindGroup(data, later.end_offset, number);
  }
  return later;
}

}  // namespace

LogReader::LogReader(FileSystem& file_system, const std::string& directory, const LogStart& start,
                     ReplayBatch replay, LogReport& report)
    : file_system_(file_system),
      directory_(directory),
      start_(start),
      replay_(replay),
      report_(report),
      durable_version_(std::max(start.flushed_version, start.durable_version)) {
}

absl::StatusOr<bool> LogReader::IsUnwritten(uint64_t name) {
  // The first bytes nearly always tell.
  if (absl::Status s = Load(name, kLogFileBytesMin); !s.ok()) return s;
  const absl::StatusOr<uint64_t> number = FileNumber(name);
  if (!number.ok()) return number.status();
  const LogRecord first = ReadLogRecord(data_, 0, *number);
  if (first.kind != RecordKind::kEnd && first.kind != RecordKind::kForeign) return false;
  if (absl::Status s = Load(name, kLogFileBytesMax); !s.ok()) return s;
  if (FindGroup(data_, 0, *number).has_value()) return false;
  if (first.kind == RecordKind::kForeign) WarnOfMissingMark(name, 0);
  return true;
}

absl::StatusOr<uint64_t> LogReader::Replay(uint64_t name, bool last) {
  if (absl::Status s = Load(name, kLogFileBytesMax); !s.ok()) return s;
  const absl::StatusOr<uint64_t> number = FileNumber(name);
  if (!number.ok()) return number.status();
  ++report_.file_count;
  groups_begin_ = 0;
  groups_end_ = 0;
  size_t offset = 0;
  LogRecord record = ReadLogRecord(data_, offset, *number);
  while (record.kind == RecordKind::kGroup) {
    if (absl::Status s = ReplayGroup(name, offset, record.header); !s.ok()) return s;
    offset += record.header.length;
    if (record.header.batch_count > 0) groups_end_ = offset;
    if (groups_end_ == 0) groups_begin_ = offset;
    record = ReadLogRecord(data_, offset, *number);
  }
  groups_end_ = std::max(groups_end_, groups_begin_);
  const LogFileId file = {.name = name, .number = *number};
  const absl::Status end =
      last ? JudgeLastEnd(file, offset, record) : JudgeEnd(file, offset, record);
  if (!end.ok()) return end;
  previous_end_ = Place(name, offset);
  return *number;
}

Version LogReader::groups_first_version() const {
  if (groups_bytes() == 0) return ExpectedVersion();
  return PeekGroupHeader(data_.data() + groups_begin_).first_version;
}

std::string_view LogReader::RenumberedGroups(uint64_t file_number, Version durable_version) {
  size_t offset = groups_begin_;
  while (offset < groups_end_) {
    GroupHeader header = PeekGroupHeader(data_.data() + offset);
    header.file_number = file_number;
    header.durable_version = durable_version;
    SealGroup(header, data_.data() + offset);
    offset += header.length;
  }
  return std::string_view(data_).substr(groups_begin_, groups_bytes());
}

absl::Status LogReader::Load(uint64_t name, uint64_t bytes_max) {
  absl::StatusOr<std::unique_ptr<File>> file = file_system_.Open(Path(name), OpenMode::kRead);
  if (!file.ok()) return file.status();
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  // A file has its full size before it gets its name, and keeps it.
  if (*size < kLogFileBytesMin) return Damage(name, *size, "the file is cut short");
  data_.resize(std::min(*size, bytes_max));
  const absl::StatusOr<size_t> got = (*file)->Read(0, data_.size(), data_.data());
  if (!got.ok()) return got.status();
  data_.resize(*got);
  return absl::OkStatus();
}

// The number that the groups of the loaded file carry: that of its opening if it has one, else that
// in its name.
absl::StatusOr<uint64_t> LogReader::FileNumber(uint64_t name) const {
  const auto opens = [name](const LogRecord& record) {
    return record.kind == RecordKind::kGroup && record.header.batch_count == 0 &&
           record.header.file_number >= name;
  };
  const LogRecord first = ReadAnyLogRecord(data_, 0);
  // A good group with batches needs no second look: what stands inside it is the client's.
  if (first.kind == RecordKind::kGroup && first.header.batch_count > 0) return name;
  const LogRecord second = ReadAnyLogRecord(data_, kGroupHeaderBytes);
  if (!opens(first) && !opens(second)) return name;
  if (!opens(first)) return Damage(name, 0, "the opening of the file is damaged");
  if (!opens(second)) return Damage(name, kGroupHeaderBytes, "the opening of the file is damaged");
  return first.header.file_number;
}

absl::Status LogReader::ReplayGroup(uint64_t name, size_t offset, const GroupHeader& header) {
  const bool dense = next_version_.has_value() ? header.first_version == *next_version_
                                               : header.first_version <= ExpectedVersion();
  if (!dense) {
    std::string what = absl::StrCat("a group begins with version ", header.first_version,
                                    " where version ", ExpectedVersion(), " must follow");
    if (offset == 0 && !previous_end_.empty()) {
      absl::StrAppend(&what, "; ", previous_end_, " is where the file before it ends");
    }
    return Damage(name, offset, what);
  }
  next_version_ = header.next_version();
  durable_version_ = std::max(durable_version_, header.durable_version);
  if (header.batch_count == 0) return absl::OkStatus();
  ++report_.group_count;
  report_.replayed_bytes += header.length;
  absl::Status status;
  Version version = header.first_version;
  ForEachBatch(std::string_view(data_).substr(offset, header.length),
               [&](std::string_view effects) {
                 ++report_.batch_count;
                 status = replay_({.version = version++, .effects = effects});
                 return status.ok();
               });
  return status;
}

absl::Status LogReader::JudgeEnd(const LogFileId& file, size_t offset, const LogRecord& end) {
  if (end.kind == RecordKind::kBad) {
    return Damage(file.name, offset, "a group is damaged, and it is not in the last file");
  }
  if (end.kind == RecordKind::kForeign) WarnOfMissingMark(file.name, offset);
  return absl::OkStatus();
}

absl::Status LogReader::JudgeLastEnd(const LogFileId& file, size_t offset, const LogRecord& end) {
  const Version expected = ExpectedVersion();
  const LaterGroups later = FindLaterGroups(data_, offset, file.number);
  // Before the first group the expected version is only a limit: if what follows begins no later,
  // LMDB holds all that stood here, so it was durable.
  const bool flushed = !next_version_.has_value() && later.any && later.first_version <= expected;
  if (flushed || std::max(durable_version_, later.durable_version) >= expected) {
    return Damage(file.name, offset,
                  absl::StrCat("no good group where version ", expected,
                               " should stand, and it was durable: the file is damaged"));
  }
  if (end.kind == RecordKind::kBad || later.any) {
    const size_t rest = data_.size() - offset;
    const size_t torn =
        later.any ? later.end_offset - offset : std::min<size_t>(rest, end.header.length);
    report_.torn_bytes += torn;
    Warn(file.name, offset,
         absl::StrCat("a torn tail of ", torn, " bytes was cut: the write of version ", expected,
                      " never became durable, or it was the very last and is damaged"));
  } else if (end.kind == RecordKind::kForeign) {
    WarnOfMissingMark(file.name, offset);
  }
  return absl::OkStatus();
}

// What stands there belongs to another file. That is as it should be where this one was never
// written and the other's first group is whole.
void LogReader::WarnOfMissingMark(uint64_t name, size_t offset) {
  if (offset == 0 && ReadAnyLogRecord(data_, 0).kind == RecordKind::kGroup) return;
  Warn(name, offset, "neither a group of this file nor its end mark; taken for its end");
}

std::string LogReader::Place(uint64_t name, uint64_t offset) const {
  return absl::StrCat("log file ", Path(name), ", offset ", offset);
}

absl::Status LogReader::Damage(uint64_t name, uint64_t offset, std::string_view what) const {
  return absl::DataLossError(absl::StrCat(Place(name, offset), ": ", ToAbsl(what)));
}

void LogReader::Warn(uint64_t name, uint64_t offset, std::string_view what) {
  report_.warnings.push_back(absl::StrCat(Place(name, offset), ": ", ToAbsl(what)));
}

}  // namespace millrace::storage
