#include "tests/simulation/sim_machine.h"

#include <errno.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <utility>

#include "millrace/runtime/reply_cell.h"

namespace millrace::testing {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

// Only the log's current file is written where no mutex is held (storage/log_files.h): files that
// are made ready have other names.
class SimMachine::DiskFile final : public storage::File {
 public:
  DiskFile(SimMachine& machine, std::unique_ptr<storage::File> inner)
      : File(inner->path()),
        machine_(machine),
        inner_(std::move(inner)),
        in_use_(path().ends_with(".log")) {}

  int64_t RawWrite(uint64_t offset, const char* data, size_t size) override {
    if (in_use_) machine_.TakeTime(50);
    if (machine_.Strikes("disk/write", 0.1, 0.01, 1)) return -EIO;
    if (machine_.Strikes("disk/short", 0.3, 0.2, 1000)) size = (size + 1) / 2;
    const int64_t held = inner_->RawSize();
    if (held >= 0 && offset + size > static_cast<uint64_t>(held) &&
        machine_.Strikes("disk/full", 0.2, 0.3, 6)) {
      return -ENOSPC;
    }
    return machine_.Call([&] { return inner_->RawWrite(offset, data, size); });
  }
  int64_t RawRead(uint64_t offset, char* out, size_t size) override {
    return machine_.Call([&] { return inner_->RawRead(offset, out, size); });
  }
  int RawSync() override {
    if (in_use_) machine_.TakeTime(2000);
    // What the sync should have made durable never will be, as on Linux.
    if (machine_.Strikes("disk/sync", 0.1, 0.02, 1)) machine_.disk_.FailSync(1);
    const int result = machine_.Call([&] { return inner_->RawSync(); });
    if (in_use_) machine_.TakeTime(100);
    return machine_.dead() ? -EIO : result;
  }
  int64_t RawSize() override {
    return machine_.Call([&] { return inner_->RawSize(); });
  }

 private:
  SimMachine& machine_;
  const std::unique_ptr<storage::File> inner_;
  const bool in_use_;
};

SimMachine::SimMachine(SimDriver& sim) : sim_(sim) {
  std::string path;
  for (const char c : directory_.path() + "/") {
    if (c == '/' && !path.empty()) {
      disk_.CreateDirectory(path).IgnoreError();
      disk_.SyncDirectory(storage::ParentDirectory(path)).IgnoreError();
    }
    path += c;
  }
}

void SimMachine::Die() {
  if (std::exchange(dead_, true)) return;
  database_ = ReadFile(directory_.File("store.mdb"));
  sim_.trace().Note(sim_.Now(), "machine", "dies at call", call_count_);
}

void SimMachine::Restart(const uint64_t* power_seed) {
  if (power_seed != nullptr) disk_.PowerLoss(*power_seed);
  // A new file, so that nothing of the old one's locks is met.
  const std::string path = directory_.File("store.mdb");
  unlink(path.c_str());
  if (!database_.empty()) {
    std::ofstream(path, std::ios::binary) << database_;
  }
  dead_ = false;
  dies_at_ = 0;
}

bool SimMachine::Passes() {
  if (++call_count_ == dies_at_) Die();
  return dead_;
}

template <typename Effect>
auto SimMachine::Call(Effect effect) -> decltype(effect()) {
  if (Passes()) return -EIO;
  const auto result = effect();
  return Passes() ? -EIO : result;
}

bool SimMachine::Strikes(const char* point, double enabled, double strike, uint64_t count_max) {
  return !dead_ && !sim_.calm() &&
         sim_.faults().Strike(point,
                              {.enabled = enabled, .strike = strike, .count_max = count_max});
}

void SimMachine::TakeTime(uint64_t microseconds_max) {
  // Who closes the engine does so under its mutex.
  if (OnActorThread()) sim_.Sleep(absl::Microseconds(sim_.random().Below(microseconds_max)));
}

int SimMachine::RawOpen(const std::string& path, storage::OpenMode mode,
                        std::unique_ptr<storage::File>* file) {
  if (Strikes("disk/name", 0.15, 0.05, 2)) return -EIO;
  if (mode == storage::OpenMode::kCreateNew && Strikes("disk/full", 0.2, 0.3, 6)) return -ENOSPC;
  std::unique_ptr<storage::File> opened;
  const int result = Call([&] { return disk_.RawOpen(path, mode, &opened); });
  if (result == 0) *file = std::make_unique<DiskFile>(*this, std::move(opened));
  return result;
}

int SimMachine::RawRename(const std::string& from, const std::string& to) {
  if (Strikes("disk/name", 0.15, 0.05, 2)) return -EIO;
  return Call([&] { return disk_.RawRename(from, to); });
}

int SimMachine::RawExchange(const std::string& one, const std::string& other) {
  if (Strikes("disk/name", 0.15, 0.05, 2)) return -EIO;
  return Call([&] { return disk_.RawExchange(one, other); });
}

int SimMachine::RawRemove(const std::string& path) {
  if (Strikes("disk/name", 0.15, 0.05, 2)) return -EIO;
  return Call([&] { return disk_.RawRemove(path); });
}

int SimMachine::RawList(const std::string& directory, std::vector<std::string>* names) {
  return Call([&] { return disk_.RawList(directory, names); });
}

int SimMachine::RawCreateDirectory(const std::string& path) {
  return Call([&] { return disk_.RawCreateDirectory(path); });
}

int SimMachine::RawSyncDirectory(const std::string& path) {
  if (Strikes("disk/name", 0.15, 0.05, 2)) return -EIO;
  return Call([&] { return disk_.RawSyncDirectory(path); });
}

}  // namespace millrace::testing
