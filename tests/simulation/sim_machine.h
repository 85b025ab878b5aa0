#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/testing/power_loss_file_system.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/storage/file_system.h"
#include "millrace/testing/sim_driver.h"

namespace millrace::testing {

// The machine under a simulated engine: a disk in memory for the log, with its delays and faults,
// and a real file for LMDB, which is always synced when LMDB says so. It can die, at any call of
// the disk or between two turns: then the store is what the disk holds at that moment. Owned by the
// simulation's thread.
//
// Fault points: disk/write, disk/sync (EIO, once), disk/full (nothing grows), disk/short (short
// writes), disk/name (renaming, opening, syncing of a directory fails).
class SimMachine final : public storage::FileSystem {
 public:
  explicit SimMachine(SimDriver& sim);

  const std::string& store_path() const { return directory_.path(); }
  PowerLossFileSystem& disk() { return disk_; }

  // From now on no call has an effect: what the engine still does, and says, nobody hears.
  void Die();
  // The same at the count-th call from now on, before or after its effect.
  void DieAtCall(uint64_t count) { dies_at_ = call_count_ + count; }
  bool dead() const { return dead_; }
  // After death, once the engine's objects are gone. With `power_seed` the power has failed: the
  // disk may have lost what was not synced.
  void Restart(const uint64_t* power_seed);

  int RawOpen(const std::string& path, storage::OpenMode mode,
              std::unique_ptr<storage::File>* file) override;
  int RawRename(const std::string& from, const std::string& to) override;
  int RawExchange(const std::string& one, const std::string& other) override;
  int RawRemove(const std::string& path) override;
  int RawList(const std::string& directory, std::vector<std::string>* names) override;
  int RawCreateDirectory(const std::string& path) override;
  int RawSyncDirectory(const std::string& path) override;

 private:
  class DiskFile;

  // One call: before its effect, the effect unless the machine is dead by then, after it.
  template <typename Effect>
  auto Call(Effect effect) -> decltype(effect());
  // True if the machine is dead, perhaps just now.
  bool Passes();
  bool Strikes(const char* point, double enabled, double strike, uint64_t count_max);
  // The device takes its time; others go on meanwhile where no mutex is held.
  void TakeTime(uint64_t microseconds_max);

  SimDriver& sim_;
  const TemporaryDirectory directory_ = TemporaryDirectory::InMemory();
  PowerLossFileSystem disk_;
  bool dead_ = false;
  uint64_t call_count_ = 0;
  uint64_t dies_at_ = 0;  // 0: never.
  std::string database_;  // LMDB's file at the moment of death.
};

}  // namespace millrace::testing
