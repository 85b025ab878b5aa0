#include "tests/testing/power_loss_file_system.h"

#include <errno.h>

#include <algorithm>
#include <random>
#include <utility>

namespace millrace::testing {
namespace {

constexpr size_t kSectorBytes = 512;

void WriteInto(uint64_t offset, std::string_view data, std::string* contents) {
  if (contents->size() < offset + data.size()) contents->resize(offset + data.size());
  std::copy(data.begin(), data.end(), contents->begin() + static_cast<ptrdiff_t>(offset));
}

// Writes those sectors of `data` that the dice keep.
void WriteSectors(uint64_t offset, std::string_view data, std::mt19937_64& dice,
                  std::string* contents) {
  while (!data.empty()) {
    const size_t step = std::min<size_t>(kSectorBytes - offset % kSectorBytes, data.size());
    if (dice() % 2 == 0) WriteInto(offset, data.substr(0, step), contents);
    offset += step;
    data.remove_prefix(step);
  }
}

// Which unsynced calls survive, decided call by call.
class Survival {
 public:
  Survival(std::mt19937_64& dice, int mode, size_t call_count)
      : dice_(dice), mode_(mode), kept_(mode == 1 ? dice() % (call_count + 1) : 0) {}

  enum class Fate { kLost, kTorn, kKept };
  Fate Next() {
    const size_t index = index_++;
    if (mode_ == 0) return Fate::kLost;
    if (mode_ == 1) {
      return index < kept_ ? Fate::kKept : index == kept_ ? Fate::kTorn : Fate::kLost;
    }
    const uint64_t roll = dice_() % 4;
    return roll == 0 ? Fate::kLost : roll == 1 ? Fate::kTorn : Fate::kKept;
  }

 private:
  std::mt19937_64& dice_;
  const int mode_;
  const size_t kept_;
  size_t index_ = 0;
};

}  // namespace

class PowerLossFileSystem::MemoryFile final : public storage::File {
 public:
  MemoryFile(PowerLossFileSystem& owner, std::string path, Node* node, uint64_t life, bool writable)
      : File(std::move(path)), owner_(owner), node_(node), life_(life), writable_(writable) {}

  int64_t RawWrite(uint64_t offset, const char* data, size_t size) override {
    absl::MutexLock lock(&owner_.mutex_);
    if (owner_.life_ != life_) return -EIO;
    if (!writable_) return -EBADF;
    WriteInto(offset, std::string_view(data, size), &node_->seen);
    node_->unsynced.push_back(
        {.number = ++node_->call_count, .offset = offset, .data = std::string(data, size)});
    return static_cast<int64_t>(size);
  }

  int64_t RawRead(uint64_t offset, char* out, size_t size) override {
    absl::MutexLock lock(&owner_.mutex_);
    if (owner_.life_ != life_) return -EIO;
    if (offset >= node_->seen.size()) return 0;
    return static_cast<int64_t>(node_->seen.copy(out, size, offset));
  }

  int RawSync() override {
    absl::MutexLock lock(&owner_.mutex_);
    if (owner_.life_ != life_) return -EIO;
    if (owner_.sync_lies_) return 0;
    if (owner_.syncs_to_failure_ > 0 && --owner_.syncs_to_failure_ == 0) {
      node_->unsynced.clear();
      return -EIO;
    }
    for (const CachedWrite& write : node_->unsynced) Apply(write, &node_->durable);
    node_->unsynced.clear();
    return 0;
  }

  int64_t RawSize() override {
    absl::MutexLock lock(&owner_.mutex_);
    return owner_.life_ != life_ ? -EIO : static_cast<int64_t>(node_->seen.size());
  }

  Node* node() const { return node_; }

  static void Apply(const CachedWrite& write, std::string* contents) {
    if (write.truncates) {
      contents->resize(write.offset);
    } else {
      WriteInto(write.offset, write.data, contents);
    }
  }

 private:
  PowerLossFileSystem& owner_;
  Node* const node_;
  const uint64_t life_;
  const bool writable_;
};

PowerLossFileSystem::PowerLossFileSystem() {
  absl::MutexLock lock(&mutex_);
  Node* root = MakeNode();
  root->is_directory = true;
  seen_["/"] = root;
  durable_["/"] = root;
}

PowerLossFileSystem::~PowerLossFileSystem() = default;

PowerLossFileSystem::Image PowerLossFileSystem::ImageAfterPowerLoss(uint64_t seed) const {
  absl::MutexLock lock(&mutex_);
  std::mt19937_64 dice(seed);
  const int mode = static_cast<int>(dice() % 3);
  Names kept = durable_;
  Survival names(dice, mode, unsynced_.size());
  for (const NameChange& change : unsynced_) {
    if (names.Next() == Survival::Fate::kKept) ApplyChange(change, &kept);
  }
  // What lay in a directory that is gone is gone with it.
  std::erase_if(kept, [&kept](const auto& entry) {
    return !kept.contains(storage::ParentDirectory(entry.first));
  });
  std::map<const Node*, std::string> contents;
  for (const std::unique_ptr<Node>& node : nodes_) {
    std::string& bytes = contents[node.get()] = node->durable;
    Survival writes(dice, mode, node->unsynced.size());
    for (const CachedWrite& write : node->unsynced) {
      const Survival::Fate fate = write.durable ? Survival::Fate::kKept : writes.Next();
      if (fate == Survival::Fate::kKept) MemoryFile::Apply(write, &bytes);
      if (fate == Survival::Fate::kTorn && !write.truncates) {
        WriteSectors(write.offset, write.data, dice, &bytes);
      }
    }
  }
  Image image;
  for (const auto& [path, node] : kept) {
    if (node->is_directory) {
      image[path] = std::nullopt;
    } else {
      image[path] = contents[node];
    }
  }
  return image;
}

void PowerLossFileSystem::PowerLoss(uint64_t seed) {
  Image image = ImageAfterPowerLoss(seed);
  absl::MutexLock lock(&mutex_);
  ++life_;
  unsynced_.clear();
  nodes_.clear();
  durable_.clear();
  for (auto& [path, contents] : image) {
    Node* const node = durable_[path] = MakeNode();
    node->is_directory = !contents.has_value();
    node->durable = std::move(contents).value_or("");
    node->seen = node->durable;
  }
  seen_ = durable_;
}

void PowerLossFileSystem::set_sync_lies(bool lies) {
  absl::MutexLock lock(&mutex_);
  sync_lies_ = lies;
}

void PowerLossFileSystem::set_cannot_exchange(bool cannot) {
  absl::MutexLock lock(&mutex_);
  cannot_exchange_ = cannot;
}

void PowerLossFileSystem::FailSync(int64_t at) {
  absl::MutexLock lock(&mutex_);
  syncs_to_failure_ = at;
}

std::string PowerLossFileSystem::Contents(const std::string& path) const {
  absl::MutexLock lock(&mutex_);
  const Node* node = Find(path);
  return node == nullptr ? std::string() : node->seen;
}

void PowerLossFileSystem::SetContents(const std::string& path, std::string contents) {
  absl::MutexLock lock(&mutex_);
  Node* node = Find(path);
  if (node == nullptr) {
    node = MakeNode();
    seen_[path] = node;
    durable_[path] = node;
  }
  node->seen = std::move(contents);
  node->durable = node->seen;
  node->unsynced.clear();
}

void PowerLossFileSystem::CopyFrom(const PowerLossFileSystem& other) {
  struct Copy {
    std::string path;
    bool is_directory;
    std::string contents;
  };
  std::vector<Copy> copies;
  {
    absl::MutexLock lock(&other.mutex_);
    for (const auto& [path, node] : other.seen_) {
      copies.push_back({path, node->is_directory, node->seen});
    }
  }
  for (Copy& copy : copies) {
    SetContents(copy.path, std::move(copy.contents));
    absl::MutexLock lock(&mutex_);
    seen_[copy.path]->is_directory = copy.is_directory;
  }
}

PowerLossFileSystem::Node* PowerLossFileSystem::NodeOf(storage::File& file) {
  return static_cast<MemoryFile&>(file).node();
}

void PowerLossFileSystem::MakeLastWriteDurable(storage::File& file) {
  absl::MutexLock lock(&mutex_);
  NodeOf(file)->unsynced.back().durable = true;
}

void PowerLossFileSystem::Truncate(storage::File& file, uint64_t size) {
  absl::MutexLock lock(&mutex_);
  Node* const node = NodeOf(file);
  node->unsynced.push_back({.number = ++node->call_count, .offset = size, .truncates = true});
  node->seen.resize(size);
}

uint64_t PowerLossFileSystem::BeginSync(storage::File& file) {
  absl::MutexLock lock(&mutex_);
  return NodeOf(file)->call_count;
}

void PowerLossFileSystem::EndSync(storage::File& file, uint64_t begun) {
  absl::MutexLock lock(&mutex_);
  Node* const node = NodeOf(file);
  auto write = node->unsynced.begin();
  for (; write != node->unsynced.end() && write->number <= begun; ++write) {
    MemoryFile::Apply(*write, &node->durable);
  }
  node->unsynced.erase(node->unsynced.begin(), write);
}

int PowerLossFileSystem::RawOpen(const std::string& path, storage::OpenMode mode,
                                 std::unique_ptr<storage::File>* file) {
  absl::MutexLock lock(&mutex_);
  Node* node = Find(path);
  if (mode == storage::OpenMode::kCreateNew) {
    if (node != nullptr) return -EEXIST;
    if (Find(storage::ParentDirectory(path)) == nullptr) return -ENOENT;
    node = MakeNode();
    Change({.to = path, .node = node});
  }
  if (node == nullptr) return -ENOENT;
  if (node->is_directory) return -EISDIR;
  *file = std::make_unique<MemoryFile>(*this, path, node, life_, mode != storage::OpenMode::kRead);
  return 0;
}

int PowerLossFileSystem::RawRename(const std::string& from, const std::string& to) {
  absl::MutexLock lock(&mutex_);
  Node* node = Find(from);
  if (node == nullptr) return -ENOENT;
  Change({.from = from, .to = to, .node = node});
  return 0;
}

int PowerLossFileSystem::RawExchange(const std::string& one, const std::string& other) {
  absl::MutexLock lock(&mutex_);
  if (cannot_exchange_) return -EOPNOTSUPP;
  Node* first = Find(one);
  Node* second = Find(other);
  if (first == nullptr || second == nullptr) return -ENOENT;
  Change({.from = one, .to = other, .node = first, .exchanged = second});
  return 0;
}

int PowerLossFileSystem::RawRemove(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  Node* node = Find(path);
  if (node == nullptr) return -ENOENT;
  Change({.from = path, .node = node});
  return 0;
}

int PowerLossFileSystem::RawList(const std::string& directory, std::vector<std::string>* names) {
  absl::MutexLock lock(&mutex_);
  if (Find(directory) == nullptr) return -ENOENT;
  for (const auto& [path, node] : seen_) {
    if (path != "/" && storage::ParentDirectory(path) == directory) {
      names->push_back(path.substr(path.find_last_of('/') + 1));
    }
  }
  return 0;
}

int PowerLossFileSystem::RawCreateDirectory(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  if (Find(path) != nullptr) return 0;
  if (Find(storage::ParentDirectory(path)) == nullptr) return -ENOENT;
  Node* node = MakeNode();
  node->is_directory = true;
  Change({.to = path, .node = node});
  return 0;
}

int PowerLossFileSystem::RawSyncDirectory(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  if (Find(path) == nullptr) return -ENOENT;
  if (sync_lies_) return 0;
  std::vector<NameChange> others;
  for (const NameChange& change : unsynced_) {
    const std::string& name = change.to.empty() ? change.from : change.to;
    if (storage::ParentDirectory(name) == path) {
      ApplyChange(change, &durable_);
    } else {
      others.push_back(change);
    }
  }
  unsynced_ = std::move(others);
  return 0;
}

PowerLossFileSystem::Node* PowerLossFileSystem::Find(const std::string& path) const {
  const auto found = seen_.find(path);
  return found == seen_.end() ? nullptr : found->second;
}

PowerLossFileSystem::Node* PowerLossFileSystem::MakeNode() {
  return nodes_.emplace_back(std::make_unique<Node>()).get();
}

void PowerLossFileSystem::Change(NameChange change) {
  ApplyChange(change, &seen_);
  unsynced_.push_back(std::move(change));
}

// A change whose forerunner was lost may find its old name absent or taken by another file.
void PowerLossFileSystem::ApplyChange(const NameChange& change, Names* names) {
  const auto old = names->find(change.from);
  if (old != names->end() && old->second == change.node) names->erase(old);
  if (!change.to.empty()) (*names)[change.to] = change.node;
  if (change.exchanged != nullptr) (*names)[change.from] = change.exchanged;
}

}  // namespace millrace::testing
