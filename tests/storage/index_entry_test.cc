#include "millrace/storage/index_entry.h"

#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

std::string ValueOf(const IndexValue& value) {
  IndexKey key;
  SetIndexKey(value, &key);
  return std::string(key.entry());
}

std::string Encode(const IndexEntry& entry) {
  std::string key;
  AppendIndexEntry(entry, &key);
  return key;
}

struct OwnedEntry {
  BranchId branch;
  IndexId index;
  Generation generation;
  std::string owner;
  std::string value;
  std::string id;

  IndexEntry view() const { return {branch, index, generation, owner, value, id}; }
  // Owners order by length first: nothing asks for their order.
  auto Order() const {
    return std::tuple(branch, index, generation, owner.size(), owner, value, id);
  }
};

class RandomEntries {
 public:
  OwnedEntry Next() {
    return {Below(3), Below(300), Below(3), Text(Below(3)), ValueOf(Value()), Text(1 + Below(4))};
  }

 private:
  uint64_t Below(uint64_t end) { return random_() % end; }
  std::string Text(size_t size) {
    constexpr char kBytes[] = {'\0', '\1', 'a', '\xff'};
    std::string text(size, '\0');
    for (char& c : text) c = kBytes[Below(sizeof(kBytes))];
    return text;
  }
  IndexValue Value() {
    if (Below(2) == 0) return static_cast<int64_t>(Below(3));
    return Text(Below(4));
  }

  std::mt19937_64 random_{20260728};
};

TEST(IndexEntryTest, KeysOrderByTheirPartsAndComeBack) {
  RandomEntries entries;
  for (int i = 0; i < 100'000; ++i) {
    const OwnedEntry a = entries.Next();
    const OwnedEntry b = entries.Next();
    const std::string key = Encode(a.view());
    ASSERT_EQ(key < Encode(b.view()), a.Order() < b.Order());
    ASSERT_EQ(key == Encode(b.view()), a.Order() == b.Order());
    const absl::StatusOr<IndexEntry> decoded = DecodeIndexEntry(key);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    ASSERT_EQ(std::tuple(decoded->branch, decoded->index, decoded->generation),
              std::tuple(a.branch, a.index, a.generation));
    ASSERT_EQ(decoded->owner, a.owner);
    ASSERT_EQ(decoded->value, a.value);
    ASSERT_EQ(decoded->id, a.id);
    ASSERT_TRUE(key.starts_with(IndexGenerationPrefix(a.branch, a.index, a.generation)));
    ASSERT_TRUE(key.starts_with(IndexOwnerPrefix(a.branch, a.index, a.generation, a.owner)));
  }
}

// Scopes and values cannot collide, whatever bytes they hold.
TEST(IndexEntryTest, NoOwnersEntriesBeginAsAnothers) {
  RandomEntries entries;
  for (int i = 0; i < 50'000; ++i) {
    const OwnedEntry a = entries.Next();
    OwnedEntry b = entries.Next();
    b.branch = a.branch;
    b.index = a.index;
    b.generation = a.generation;
    if (a.owner == b.owner) continue;
    ASSERT_FALSE(
        Encode(b.view()).starts_with(IndexOwnerPrefix(a.branch, a.index, a.generation, a.owner)));
  }
}

TEST(IndexEntryTest, TheLongestEntryFitsLmdb) {
  const std::string value = ValueOf(std::string(1000, 'v'));
  EXPECT_EQ(value.size(), kIndexValueBytesMax);
  const uint64_t big = ~uint64_t{0};
  const std::string owner(kIdBytesMax, 'o');
  const std::string member(kLinkIdsBytesMax - owner.size(), 'm');
  EXPECT_LE(Encode({big, big, big, owner, value, member}).size(), kIndexEntryBytesMax);
  const std::string id(kIdBytesMax, 'i');
  EXPECT_LE(Encode({big, big, big, {}, value, id}).size(), kIndexEntryBytesMax);
}

TEST(IndexEntryTest, DamagedKeysAreRefused) {
  const std::string key = Encode({0, 7, 1, "o", ValueOf(int64_t{1}), "x"});
  for (size_t size = 0; size < key.size(); ++size) {
    EXPECT_EQ(DecodeIndexEntry(key.substr(0, size)).status().code(), absl::StatusCode::kDataLoss);
  }
  std::string bad = key;
  bad[3] = '\x7f';  // An owner longer than the key.
  EXPECT_EQ(DecodeIndexEntry(bad).status().code(), absl::StatusCode::kDataLoss);
  IndexEntry entry;
  EXPECT_TRUE(PeekIndexEntry(key, &entry));
  EXPECT_EQ(entry.index, 7u);
  EXPECT_FALSE(PeekIndexEntry("", &entry));
}

TEST(IndexEntryTest, CandidatesStandByIndexAndValue) {
  std::string key;
  AppendCandidate(kTrunk, 7, ValueOf(int64_t{1}), "x", &key);
  EXPECT_EQ(key, CandidatePrefix(kTrunk, 7) + ValueOf(int64_t{1}) + "x");
  const absl::StatusOr<RowKey> row = DecodeRowKey(key);
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->tree, Tree::kCandidates);
  EXPECT_EQ(row->collection, 7u);
}

}  // namespace
}  // namespace millrace::storage
