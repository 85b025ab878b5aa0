#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/testing/io_shim.h"
#include "tests/testing/power_loss_file_system.h"

namespace millrace::testing {

// A call that changed files, or a mark of the test's. Value.
struct IoEvent {
  IoCall::Kind kind = IoCall::kOpen;
  bool is_mark = false;  // Then `offset` is the mark.
  int descriptor = -1;
  int flags = 0;
  std::string path;
  std::string other_path;
  uint64_t offset = 0;
  std::string data;
  int64_t result = 0;
};

// All calls below one directory, in order, from every thread, as the shim sees them. One at a time
// in a process that runs with the shim. Thread-safe.
class IoTrace {
 public:
  // Records from now on. Descriptors that were open before are not followed.
  explicit IoTrace(std::string root);
  ~IoTrace();
  IoTrace(const IoTrace&) = delete;
  IoTrace& operator=(const IoTrace&) = delete;

  // Everything recorded so far happened before this.
  void Mark(uint64_t mark);
  // Ends the recording.
  void Stop();
  // Ends it, and gives what was recorded.
  std::vector<IoEvent> Take();

 private:
  static void Observe(const IoCall& call);
};

// What a disk would hold at any point of a trace. The page cache is told apart from the disk: a
// write is on the disk once a sync that began after it had ended has ended, or, of a descriptor
// opened with O_DSYNC, once it has ended itself; a name, once its directory was synced. Owned by
// one thread.
class IoReplay {
 public:
  // Begins with what lies in `root` now, all of it on the disk. `events` outlive the replay.
  IoReplay(const std::string& root, const std::vector<IoEvent>& events);

  // Makes the calls up to `count` of the trace, counted from its beginning; never backwards.
  void AdvanceTo(size_t count);
  // The marks so far.
  const std::vector<uint64_t>& marks() const { return marks_; }

  // Writes to `directory`, in place of `root`, what a power loss would leave.
  void WriteImage(uint64_t seed, const std::string& directory) const;

 private:
  struct OpenFile {
    std::unique_ptr<storage::File> file;  // Null: a directory.
    std::string path;
    bool writes_are_durable = false;
    const IoEvent* write = nullptr;  // The one that has begun.
    uint64_t sync_begun = 0;
  };
  void Apply(const IoEvent& event);
  void Open(const IoEvent& event);
  void ApplyToFile(const IoEvent& event, OpenFile& open);

  const std::string root_;
  const std::vector<IoEvent>& events_;
  size_t next_ = 0;
  PowerLossFileSystem disk_;
  std::map<int, OpenFile> open_;  // By descriptor.
  std::vector<uint64_t> marks_;
};

}  // namespace millrace::testing
