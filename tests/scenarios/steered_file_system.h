#pragma once

#include <errno.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "millrace/storage/file_system.h"

namespace millrace::testing {

// A file system in front of another, as a disk that can be full (no file is made and none grows,
// but what is there can be overwritten), and whose syncs can be dropped without a word: the control
// that shows that a test of durability can fail. Thread-safe. `inner` outlives it.
class SteeredFileSystem final : public storage::FileSystem {
 public:
  explicit SteeredFileSystem(storage::FileSystem& inner) : inner_(inner) {}

  void set_full(bool full) { full_.store(full); }
  void set_drops_syncs(bool drops) { drops_syncs_.store(drops); }

  int RawOpen(const std::string& path, storage::OpenMode mode,
              std::unique_ptr<storage::File>* file) override {
    if (full_.load() && mode == storage::OpenMode::kCreateNew) return -ENOSPC;
    std::unique_ptr<storage::File> opened;
    const int result = inner_.RawOpen(path, mode, &opened);
    if (result == 0) *file = std::make_unique<SteeredFile>(*this, std::move(opened));
    return result;
  }
  int RawRename(const std::string& from, const std::string& to) override {
    return inner_.RawRename(from, to);
  }
  int RawExchange(const std::string& one, const std::string& other) override {
    return inner_.RawExchange(one, other);
  }
  int RawRemove(const std::string& path) override { return inner_.RawRemove(path); }
  int RawList(const std::string& directory, std::vector<std::string>* names) override {
    return inner_.RawList(directory, names);
  }
  int RawCreateDirectory(const std::string& path) override {
    return inner_.RawCreateDirectory(path);
  }
  int RawSyncDirectory(const std::string& path) override {
    return drops_syncs_.load() ? 0 : inner_.RawSyncDirectory(path);
  }

 private:
  class SteeredFile final : public storage::File {
   public:
    SteeredFile(SteeredFileSystem& owner, std::unique_ptr<storage::File> inner)
        : File(inner->path()), owner_(owner), inner_(std::move(inner)) {}
    int64_t RawWrite(uint64_t offset, const char* data, size_t size) override {
      if (owner_.full_.load()) {
        const int64_t file_bytes = inner_->RawSize();
        if (file_bytes < 0) return file_bytes;
        if (offset + size > static_cast<uint64_t>(file_bytes)) return -ENOSPC;
      }
      return inner_->RawWrite(offset, data, size);
    }
    int64_t RawRead(uint64_t offset, char* out, size_t size) override {
      return inner_->RawRead(offset, out, size);
    }
    int RawSync() override { return owner_.drops_syncs_.load() ? 0 : inner_->RawSync(); }
    int64_t RawSize() override { return inner_->RawSize(); }

   private:
    SteeredFileSystem& owner_;
    const std::unique_ptr<storage::File> inner_;
  };

  storage::FileSystem& inner_;
  std::atomic<bool> full_{false};
  std::atomic<bool> drops_syncs_{false};
};

}  // namespace millrace::testing
