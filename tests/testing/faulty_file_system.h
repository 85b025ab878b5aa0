#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "millrace/storage/file_system.h"

namespace millrace::testing {

enum class FileCall {
  kOpen,
  kRead,
  kWrite,
  kSync,
  kSize,
  kRename,  // Exchanging, too.
  kRemove,
  kList,
  kCreateDirectory,
  kSyncDirectory,
};

// What goes wrong, and when. Value.
struct FileFault {
  enum class Effect {
    kNothing,  // The call does nothing and fails.
    kPart,   // A write or read does half (a write at least one byte) and fails; others as kNothing.
    kWhole,  // The call does what it should and fails all the same.
    kShort,  // A write or read does half and says so: no error.
  };
  std::optional<FileCall> call;  // Any call if absent.
  int64_t at = 1;                // It is the at-th such call from now on, counted from 1.
  int error = 5;                 // EIO.
  Effect effect = Effect::kNothing;
  bool forever = false;  // All calls after it fail too, without effect: the process is dead.
};

// One call as it was made. Value.
struct FileEvent {
  FileCall call = FileCall::kOpen;
  std::string path;
  uint64_t offset = 0;
  uint64_t size = 0;
  int64_t result = 0;
};

// A file system in front of another that counts calls and lets chosen ones fail. It sees single
// attempts (storage::File's Raw calls), so what repeats them is tested too. Thread-safe. `inner`
// outlives it, and it outlives its files.
class FaultyFileSystem final : public storage::FileSystem {
 public:
  explicit FaultyFileSystem(storage::FileSystem& inner) : inner_(inner) {}

  // Replaces the fault before. Counting begins here.
  void Fail(const FileFault& fault);
  void Heal();
  // Whether the fault has struck.
  bool struck() const;

  // Calls so far, of one kind or of all.
  int64_t count(FileCall call) const;
  int64_t total_count() const;
  // All calls since construction or ClearEvents, in order.
  std::vector<FileEvent> events() const;
  void ClearEvents();

  int RawOpen(const std::string& path, storage::OpenMode mode,
              std::unique_ptr<storage::File>* file) override;
  int RawRename(const std::string& from, const std::string& to) override;
  int RawExchange(const std::string& one, const std::string& other) override;
  int RawRemove(const std::string& path) override;
  int RawList(const std::string& directory, std::vector<std::string>* names) override;
  int RawCreateDirectory(const std::string& path) override;
  int RawSyncDirectory(const std::string& path) override;

 private:
  class FaultyFile;

  // The effect that the next call of this kind shall have; nullopt if it shall work.
  std::optional<FileFault> Next(FileCall call);
  int64_t Record(FileEvent event, int64_t result);
  template <typename Action>
  int64_t Apply(FileCall call, const std::string& path, Action action);

  storage::FileSystem& inner_;
  mutable absl::Mutex mutex_;
  std::optional<FileFault> fault_ ABSL_GUARDED_BY(mutex_);
  int64_t matching_ ABSL_GUARDED_BY(mutex_) = 0;
  bool struck_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<FileEvent> events_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace millrace::testing
