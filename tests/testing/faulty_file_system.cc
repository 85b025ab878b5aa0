#include "tests/testing/faulty_file_system.h"

#include <algorithm>
#include <utility>

namespace millrace::testing {

using Effect = FileFault::Effect;

class FaultyFileSystem::FaultyFile final : public storage::File {
 public:
  FaultyFile(FaultyFileSystem& owner, std::unique_ptr<storage::File> inner)
      : File(inner->path()), owner_(owner), inner_(std::move(inner)) {}

  int64_t RawWrite(uint64_t offset, const char* data, size_t size) override {
    return Transfer(FileCall::kWrite, offset, size,
                    [&](size_t bytes) { return inner_->RawWrite(offset, data, bytes); });
  }

  int64_t RawRead(uint64_t offset, char* out, size_t size) override {
    return Transfer(FileCall::kRead, offset, size,
                    [&](size_t bytes) { return inner_->RawRead(offset, out, bytes); });
  }

  int RawSync() override {
    return static_cast<int>(
        owner_.Apply(FileCall::kSync, path(), [this] { return inner_->RawSync(); }));
  }

  int64_t RawSize() override {
    return owner_.Apply(FileCall::kSize, path(), [this] { return inner_->RawSize(); });
  }

 private:
  template <typename Action>
  int64_t Transfer(FileCall call, uint64_t offset, size_t size, Action action) {
    const std::optional<FileFault> fault = owner_.Next(call);
    const size_t half = std::max<size_t>(size / 2, 1);
    int64_t result = 0;
    if (!fault.has_value()) {
      result = action(size);
    } else if (fault->effect == Effect::kShort) {
      result = action(half);
    } else {
      if (fault->effect == Effect::kPart) action(half);
      if (fault->effect == Effect::kWhole) action(size);
      result = -fault->error;
    }
    return owner_.Record({.call = call, .path = path(), .offset = offset, .size = size}, result);
  }

  FaultyFileSystem& owner_;
  const std::unique_ptr<storage::File> inner_;
};

void FaultyFileSystem::Fail(const FileFault& fault) {
  absl::MutexLock lock(&mutex_);
  fault_ = fault;
  matching_ = 0;
  struck_ = false;
}

void FaultyFileSystem::Heal() {
  absl::MutexLock lock(&mutex_);
  fault_.reset();
}

bool FaultyFileSystem::struck() const {
  absl::MutexLock lock(&mutex_);
  return struck_;
}

int64_t FaultyFileSystem::count(FileCall call) const {
  absl::MutexLock lock(&mutex_);
  return std::count_if(events_.begin(), events_.end(),
                       [call](const FileEvent& event) { return event.call == call; });
}

int64_t FaultyFileSystem::total_count() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int64_t>(events_.size());
}

std::vector<FileEvent> FaultyFileSystem::events() const {
  absl::MutexLock lock(&mutex_);
  return events_;
}

void FaultyFileSystem::ClearEvents() {
  absl::MutexLock lock(&mutex_);
  events_.clear();
}

std::optional<FileFault> FaultyFileSystem::Next(FileCall call) {
  absl::MutexLock lock(&mutex_);
  if (!fault_.has_value()) return std::nullopt;
  if (struck_ && fault_->forever) {
    FileFault dead = *fault_;
    dead.effect = Effect::kNothing;
    return dead;
  }
  if (struck_ || (fault_->call.has_value() && *fault_->call != call)) return std::nullopt;
  if (++matching_ < fault_->at) return std::nullopt;
  struck_ = true;
  return fault_;
}

int64_t FaultyFileSystem::Record(FileEvent event, int64_t result) {
  event.result = result;
  absl::MutexLock lock(&mutex_);
  events_.push_back(std::move(event));
  return result;
}

template <typename Action>
int64_t FaultyFileSystem::Apply(FileCall call, const std::string& path, Action action) {
  const std::optional<FileFault> fault = Next(call);
  int64_t result = 0;
  if (!fault.has_value() || fault->effect == Effect::kWhole || fault->effect == Effect::kShort) {
    result = action();
  }
  if (fault.has_value() && fault->effect != Effect::kShort) result = -fault->error;
  return Record({.call = call, .path = path}, result);
}

int FaultyFileSystem::RawOpen(const std::string& path, storage::OpenMode mode,
                              std::unique_ptr<storage::File>* file) {
  std::unique_ptr<storage::File> opened;
  const int64_t result =
      Apply(FileCall::kOpen, path, [&] { return inner_.RawOpen(path, mode, &opened); });
  if (result == 0) *file = std::make_unique<FaultyFile>(*this, std::move(opened));
  return static_cast<int>(result);
}

int FaultyFileSystem::RawRename(const std::string& from, const std::string& to) {
  return static_cast<int>(
      Apply(FileCall::kRename, from, [&] { return inner_.RawRename(from, to); }));
}

int FaultyFileSystem::RawExchange(const std::string& one, const std::string& other) {
  return static_cast<int>(
      Apply(FileCall::kRename, one, [&] { return inner_.RawExchange(one, other); }));
}

int FaultyFileSystem::RawRemove(const std::string& path) {
  return static_cast<int>(Apply(FileCall::kRemove, path, [&] { return inner_.RawRemove(path); }));
}

int FaultyFileSystem::RawList(const std::string& directory, std::vector<std::string>* names) {
  return static_cast<int>(
      Apply(FileCall::kList, directory, [&] { return inner_.RawList(directory, names); }));
}

int FaultyFileSystem::RawCreateDirectory(const std::string& path) {
  return static_cast<int>(
      Apply(FileCall::kCreateDirectory, path, [&] { return inner_.RawCreateDirectory(path); }));
}

int FaultyFileSystem::RawSyncDirectory(const std::string& path) {
  return static_cast<int>(
      Apply(FileCall::kSyncDirectory, path, [&] { return inner_.RawSyncDirectory(path); }));
}

}  // namespace millrace::testing
