// What the physical work of a commit costs, without an engine around it: the limit (one write and
// one sync), and the smallest group commit: clients push requests to a lock-free list, one thread
// takes all of them, writes them behind each other into a file that was written before, syncs it
// and answers. Two futex hops a commit, one each way.
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <thread>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "bench/commit_system.h"

namespace millrace {
namespace {

constexpr size_t kRecordBytes = kCommitKeyBytes + kCommitValueBytes;
constexpr size_t kBlockBytes = 4096;

absl::Status SystemError(const char* what) {
  return absl::InternalError(absl::StrCat(what, ": ", std::strerror(errno)));
}

// A file whose bytes were all written and synced, so that a commit touches no metadata. Owned by
// one thread.
class WrittenFile {
 public:
  ~WrittenFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  absl::Status Open(const std::string& path, size_t bytes) {
    descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor_ < 0) return SystemError("open");
    const std::string zeroes(size_t{1} << 20, '\0');
    for (; size_ < bytes; size_ += zeroes.size()) {
      if (pwrite(descriptor_, zeroes.data(), zeroes.size(), static_cast<off_t>(size_)) < 0) {
        return SystemError("pwrite");
      }
    }
    return fsync(descriptor_) == 0 ? absl::OkStatus() : SystemError("fsync");
  }

  absl::Status WriteAndSync(std::string_view data, size_t offset) {
    if (offset + data.size() > size_) return absl::ResourceExhaustedError("the log is full");
    const ssize_t written =
        pwrite(descriptor_, data.data(), data.size(), static_cast<off_t>(offset));
    if (written != static_cast<ssize_t>(data.size())) return SystemError("pwrite");
    return fdatasync(descriptor_) == 0 ? absl::OkStatus() : SystemError("fdatasync");
  }

  absl::StatusOr<std::string> ReadAll(size_t size) {
    std::string data(size, '\0');
    const ssize_t got = pread(descriptor_, data.data(), size, 0);
    if (got != static_cast<ssize_t>(size)) return SystemError("pread");
    return data;
  }

 private:
  int descriptor_ = -1;
  size_t size_ = 0;
};

// Finds records in what was written: pieces of kRecordBytes at multiples of `stride`.
absl::Status CheckWritten(const char* system, const std::string& data, size_t stride,
                          absl::Span<const CommitRecord> records) {
  std::unordered_map<std::string_view, std::string_view> found;
  const std::string_view view(data);
  for (size_t at = 0; at + kRecordBytes <= view.size(); at += stride) {
    found[view.substr(at, kCommitKeyBytes)] = view.substr(at + kCommitKeyBytes, kCommitValueBytes);
  }
  for (const CommitRecord& record : records) {
    const auto it = found.find(record.key);
    if (it == found.end() || it->second != record.value) return MissingRecord(system, record);
  }
  return absl::OkStatus();
}

// For one client. Not thread-safe.
class Limit final : public CommitSystem {
 public:
  absl::Status Open(const std::string& directory, size_t commits_max) {
    return file_.Open(directory + "/limit", commits_max * kBlockBytes);
  }
  absl::Status Commit(const CommitRecord& record) override {
    block_.replace(0, kCommitKeyBytes, record.key);
    block_.replace(kCommitKeyBytes, kCommitValueBytes, record.value);
    return file_.WriteAndSync(block_, count_++ * kBlockBytes);
  }
  absl::Status Check(absl::Span<const CommitRecord> records) override {
    const absl::StatusOr<std::string> data = file_.ReadAll(count_ * kBlockBytes);
    if (!data.ok()) return data.status();
    return CheckWritten("limit", *data, kBlockBytes, records);
  }

 private:
  WrittenFile file_;
  std::string block_ = std::string(kBlockBytes, '\0');
  size_t count_ = 0;
};

void FutexWait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void FutexWake(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

// One commit under way. Its words are changed by client and committer.
struct Request {
  enum : uint32_t { kOpen, kAwaited, kDone };

  char record[kRecordBytes];
  Request* next = nullptr;
  std::atomic<uint32_t> state{kDone};

  void Wait() {
    uint32_t open = kOpen;
    state.compare_exchange_strong(open, kAwaited);
    while (state.load() != kDone) FutexWait(state, kAwaited);
  }
  void Complete() {
    if (state.exchange(kDone) == kAwaited) FutexWake(state);
  }
};

// Thread-safe.
class GroupCommit final : public CommitSystem {
 public:
  explicit GroupCommit(bool writes) : writes_(writes) {}
  ~GroupCommit() override {
    if (!committer_.joinable()) return;
    stop_ = true;
    signal_.fetch_add(1);
    FutexWake(signal_);
    committer_.join();
  }

  absl::Status Open(const std::string& directory, size_t commits_max) {
    absl::Status status;
    if (writes_) status = file_.Open(directory + "/log", commits_max * kRecordBytes);
    if (status.ok()) committer_ = std::thread([this] { Run(); });
    return status;
  }

  void Submit(const CommitRecord& record, Request* request) {
    std::memcpy(request->record, record.key.data(), kCommitKeyBytes);
    std::memcpy(request->record + kCommitKeyBytes, record.value.data(), kCommitValueBytes);
    request->state.store(Request::kOpen, std::memory_order_relaxed);  // Published by the push.
    request->next = submitted_.load();
    while (!submitted_.compare_exchange_weak(request->next, request)) {
    }
    // Who makes the list non-empty wakes the committer.
    if (request->next == nullptr) {
      signal_.fetch_add(1);
      if (sleeping_.load()) FutexWake(signal_);
    }
  }

  absl::Status Commit(const CommitRecord& record) override {
    Request request;
    Submit(record, &request);
    request.Wait();
    return failed_.load() ? absl::InternalError("the log failed") : absl::OkStatus();
  }
  std::unique_ptr<CommitStream> NewStream(size_t outstanding_max) override;
  absl::Status Check(absl::Span<const CommitRecord> records) override {
    if (!writes_) return absl::OkStatus();  // Nothing is kept: every request was answered.
    const absl::StatusOr<std::string> data = file_.ReadAll(offset_);
    if (!data.ok()) return data.status();
    return CheckWritten("prototype", *data, kRecordBytes, records);
  }
  bool failed() const { return failed_.load(); }

 private:
  void Run() {
    std::string group;
    for (;;) {
      const uint32_t seen = signal_.load();
      Request* requests = submitted_.exchange(nullptr);
      if (requests == nullptr) {
        if (stop_.load()) return;
        sleeping_.store(true);
        FutexWait(signal_, seen);
        sleeping_.store(false);
        continue;
      }
      group.clear();
      for (const Request* at = requests; at != nullptr; at = at->next) {
        group.append(at->record, kRecordBytes);
      }
      if (writes_ && !file_.WriteAndSync(group, offset_).ok()) failed_.store(true);
      offset_ += group.size();
      while (requests != nullptr) {
        Request* const next = requests->next;  // The client frees what is complete.
        requests->Complete();
        requests = next;
      }
    }
  }

  const bool writes_;
  WrittenFile file_;
  size_t offset_ = 0;
  std::atomic<Request*> submitted_{nullptr};
  std::atomic<uint32_t> signal_{0};
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> stop_{false};
  std::atomic<bool> failed_{false};
  std::thread committer_;
};

// A ring of requests: the oldest is waited for when all are out.
class GroupCommitStream final : public CommitStream {
 public:
  GroupCommitStream(GroupCommit& system, size_t outstanding_max)
      : system_(system), ring_(outstanding_max) {}

  absl::Status Add(const CommitRecord& record) override {
    Request& request = ring_[next_];
    next_ = next_ + 1 < ring_.size() ? next_ + 1 : 0;
    request.Wait();
    system_.Submit(record, &request);
    return system_.failed() ? absl::InternalError("the log failed") : absl::OkStatus();
  }
  absl::Status Finish() override {
    for (Request& request : ring_) request.Wait();
    return system_.failed() ? absl::InternalError("the log failed") : absl::OkStatus();
  }

 private:
  GroupCommit& system_;
  std::vector<Request> ring_;
  size_t next_ = 0;
};

std::unique_ptr<CommitStream> GroupCommit::NewStream(size_t outstanding_max) {
  return std::make_unique<GroupCommitStream>(*this, outstanding_max);
}

OpenedSystem OpenGroupCommit(bool writes, const std::string& directory, size_t commits_max) {
  auto system = std::make_unique<GroupCommit>(writes);
  if (absl::Status status = system->Open(directory, commits_max); !status.ok()) return status;
  return system;
}

}  // namespace

OpenedSystem OpenLimit(const std::string& directory, size_t commits_max) {
  auto system = std::make_unique<Limit>();
  if (absl::Status status = system->Open(directory, commits_max); !status.ok()) return status;
  return system;
}

OpenedSystem OpenPrototype(const std::string& directory, size_t commits_max) {
  return OpenGroupCommit(true, directory, commits_max);
}

OpenedSystem OpenQueueOnly(const std::string& directory, size_t commits_max) {
  return OpenGroupCommit(false, directory, commits_max);
}

}  // namespace millrace
