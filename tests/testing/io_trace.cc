#include "tests/testing/io_trace.h"

#include <fcntl.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"

namespace millrace::testing {
namespace {

struct Recording {
  absl::Mutex mutex;
  std::string root ABSL_GUARDED_BY(mutex);  // Empty: nothing is recorded.
  std::vector<IoEvent> events ABSL_GUARDED_BY(mutex);
  std::set<int> followed ABSL_GUARDED_BY(mutex);  // Descriptors of files below the root.
};

Recording& TheRecording() {
  static auto& recording = *new Recording;
  return recording;
}

bool IsBelow(const char* path, const std::string& root) {
  return path != nullptr && absl::StartsWith(path, root);
}

}  // namespace

IoTrace::IoTrace(std::string root) {
  {
    absl::MutexLock lock(&TheRecording().mutex);
    TheRecording().root = std::move(root);
    TheRecording().events.clear();
    TheRecording().followed.clear();
  }
  EXPECT_TRUE(SetIoObserver(&Observe)) << "the test runs without the shim";
}

IoTrace::~IoTrace() {
  Stop();
}

void IoTrace::Mark(uint64_t mark) {
  absl::MutexLock lock(&TheRecording().mutex);
  IoEvent event;
  event.is_mark = true;
  event.offset = mark;
  TheRecording().events.push_back(std::move(event));
}

void IoTrace::Stop() {
  SetIoObserver(nullptr);
  absl::MutexLock lock(&TheRecording().mutex);
  TheRecording().root.clear();
}

std::vector<IoEvent> IoTrace::Take() {
  Stop();
  absl::MutexLock lock(&TheRecording().mutex);
  return std::move(TheRecording().events);
}

// Everything that this does must not change files below the root.
void IoTrace::Observe(const IoCall& call) {
  Recording& recording = TheRecording();
  absl::MutexLock lock(&recording.mutex);
  if (recording.root.empty()) return;
  const bool ours = call.path != nullptr ? IsBelow(call.path, recording.root)
                                         : recording.followed.count(call.descriptor) > 0;
  if (!ours) return;
  if (call.kind == IoCall::kOpen) recording.followed.insert(call.descriptor);
  if (call.kind == IoCall::kClose) recording.followed.erase(call.descriptor);
  IoEvent event;
  event.kind = call.kind;
  event.descriptor = call.descriptor;
  event.flags = call.flags;
  if (call.path != nullptr) event.path = call.path;
  if (call.other_path != nullptr) event.other_path = call.other_path;
  event.offset = call.offset;
  if (call.data != nullptr) event.data.assign(call.data, call.size);
  event.result = call.result;
  recording.events.push_back(std::move(event));
}

IoReplay::IoReplay(const std::string& root, const std::vector<IoEvent>& events)
    : root_(root), events_(events) {
  for (size_t slash = root.find('/', 1);; slash = root.find('/', slash + 1)) {
    EXPECT_TRUE(disk_.CreateDirectory(root.substr(0, slash)).ok());
    EXPECT_TRUE(disk_.SyncDirectory(storage::ParentDirectory(root.substr(0, slash))).ok());
    if (slash == std::string::npos) break;
  }
  if (!std::filesystem::exists(root)) return;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    const std::string path = entry.path();
    if (entry.is_directory()) {
      EXPECT_TRUE(disk_.CreateDirectory(path).ok());
      EXPECT_TRUE(disk_.SyncDirectory(storage::ParentDirectory(path)).ok());
    } else {
      std::ifstream in(path, std::ios::binary);
      disk_.SetContents(path, {std::istreambuf_iterator<char>(in), {}});
    }
  }
}

void IoReplay::AdvanceTo(size_t count) {
  for (; next_ < count; ++next_) Apply(events_[next_]);
}

void IoReplay::Apply(const IoEvent& event) {
  if (event.is_mark) {
    marks_.push_back(event.offset);
    return;
  }
  switch (event.kind) {
    case IoCall::kOpen:
      return Open(event);
    case IoCall::kClose:
      open_.erase(event.descriptor);
      return;
    case IoCall::kRename:
      EXPECT_EQ(disk_.RawRename(event.path, event.other_path), 0);
      return;
    case IoCall::kExchange:
      EXPECT_EQ(disk_.RawExchange(event.path, event.other_path), 0);
      return;
    case IoCall::kRemove:
      EXPECT_EQ(disk_.RawRemove(event.path), 0);
      return;
    case IoCall::kMakeDirectory:
      EXPECT_EQ(disk_.RawCreateDirectory(event.path), 0);
      return;
    default:
      ApplyToFile(event, open_.at(event.descriptor));
  }
}

void IoReplay::Open(const IoEvent& event) {
  OpenFile open{.path = event.path, .writes_are_durable = (event.flags & O_DSYNC) != 0};
  int result = disk_.RawOpen(event.path, storage::OpenMode::kReadWrite, &open.file);
  if (result != 0 && (event.flags & O_CREAT) != 0) {
    result = disk_.RawOpen(event.path, storage::OpenMode::kCreateNew, &open.file);
  }
  EXPECT_TRUE(result == 0 || (event.flags & O_DIRECTORY) != 0) << event.path;
  open_[event.descriptor] = std::move(open);
}

void IoReplay::ApplyToFile(const IoEvent& event, OpenFile& open) {
  switch (event.kind) {
    case IoCall::kWriteBegin:
      open.write = &event;
      // A part of it may be on the disk before it ends.
      if (open.writes_are_durable) {
        open.file->RawWrite(event.offset, event.data.data(), event.data.size());
      }
      return;
    case IoCall::kWriteEnd:
      if (open.writes_are_durable) {
        disk_.MakeLastWriteDurable(*open.file);
      } else if (event.result > 0) {
        open.file->RawWrite(open.write->offset, open.write->data.data(),
                            static_cast<size_t>(event.result));
      }
      return;
    case IoCall::kTruncate:
      disk_.Truncate(*open.file, event.offset);
      return;
    case IoCall::kSyncBegin:
      if (open.file != nullptr) open.sync_begun = disk_.BeginSync(*open.file);
      return;
    case IoCall::kSyncEnd:
      if (open.file == nullptr) {
        EXPECT_EQ(disk_.RawSyncDirectory(open.path), 0);
      } else {
        disk_.EndSync(*open.file, open.sync_begun);
      }
      return;
    default:
      return;
  }
}

void IoReplay::WriteImage(uint64_t seed, const std::string& directory) const {
  std::filesystem::remove_all(directory);
  for (const auto& [path, contents] : disk_.ImageAfterPowerLoss(seed)) {
    if (!absl::StartsWith(path, root_)) continue;
    const std::string place = absl::StrCat(directory, path.substr(root_.size()));
    if (contents.has_value()) {
      std::ofstream(place, std::ios::binary) << *contents;
    } else {
      std::filesystem::create_directories(place);
    }
  }
}

}  // namespace millrace::testing
