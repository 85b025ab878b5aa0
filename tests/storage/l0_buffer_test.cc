#include "millrace/storage/l0_buffer.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

constexpr Version kNewest = std::numeric_limits<Version>::max();

struct Stored {
  bool tombstone = false;
  std::string value;
};

// Key ascending, version descending.
struct ModelOrder {
  bool operator()(const std::pair<std::string, Version>& a,
                  const std::pair<std::string, Version>& b) const {
    return a.first != b.first ? a.first < b.first : a.second > b.second;
  }
};
using Model = std::map<std::pair<std::string, Version>, Stored, ModelOrder>;

std::string Describe(const L0Row& row) {
  return std::string(row.key) + "@" + std::to_string(row.version) + (row.tombstone ? "-" : "=") +
         std::string(row.value);
}

std::string Describe(const Model::value_type& row) {
  return row.first.first + "@" + std::to_string(row.first.second) +
         (row.second.tombstone ? "-" : "=") + row.second.value;
}

// Keys that are hard to tell apart: few different bytes, the extreme ones among them, long shared
// prefixes, lengths from 0 to 300.
class KeySource {
 public:
  explicit KeySource(std::mt19937_64* random) : random_(*random) {
    for (int i = 0; i < 6; ++i) prefixes_.push_back(Bytes(random_() % 200));
    prefixes_.push_back("");
  }

  std::string Next() {
    return prefixes_[random_() % prefixes_.size()] +
           Bytes(random_() % (random_() % 8 == 0 ? 100 : 6));
  }

 private:
  std::string Bytes(size_t size) {
    constexpr char kBytes[] = {'\x00', '\x01', 'a', '\x7f', '\x80', '\xff'};
    std::string bytes;
    for (size_t i = 0; i < size; ++i) bytes.push_back(kBytes[random_() % sizeof(kBytes)]);
    return bytes;
  }

  std::mt19937_64& random_;
  std::vector<std::string> prefixes_;
};

// A buffer and its model, filled with the same rows.
struct Pair {
  explicit Pair(const L0Buffer::Options& options) : buffer(options) {}

  void Insert(const std::vector<std::pair<std::string, Version>>& keys, std::mt19937_64* random) {
    std::vector<L0Row> rows;
    size_t bytes = 0;
    for (const auto& key : keys) {
      const bool tombstone = (*random)() % 5 == 0;
      const std::string value = tombstone ? "" : std::string((*random)() % 40, 'v');
      const auto [row, inserted] = model.emplace(key, Stored{tombstone, value});
      if (!inserted) continue;
      rows.push_back({row->first.first, row->first.second, tombstone, row->second.value});
      bytes += key.first.size() + value.size();
    }
    ASSERT_TRUE(buffer.Reserve(rows.size(), bytes).ok());
    buffer.Insert(rows);
  }

  // The model's newest row of `key` at `at_most`, or end.
  Model::const_iterator Find(const std::string& key, Version at_most) const {
    const auto row = model.lower_bound({key, at_most});
    return row != model.end() && row->first.first == key ? row : model.end();
  }

  L0Buffer buffer;
  Model model;
};

void FillRandomly(uint64_t seed, int rows, Version versions, Pair* pair) {
  std::mt19937_64 random(seed);
  KeySource keys(&random);
  std::vector<std::string> used;
  for (int inserted = 0; inserted < rows;) {
    std::vector<std::pair<std::string, Version>> group;
    for (uint64_t count = 1 + random() % 40; count > 0; --count, ++inserted) {
      if (used.empty() || random() % 3 != 0) used.push_back(keys.Next());
      group.emplace_back(used[random() % used.size()], 1 + random() % versions);
    }
    ASSERT_NO_FATAL_FAILURE(pair->Insert(group, &random));
  }
}

class L0BufferModelTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override {
    SCOPED_TRACE(GetParam());
    // Few versions make many keys, many versions long chains of one key.
    const Version versions = GetParam() % 2 == 0 ? 8 : 1'000;
    ASSERT_NO_FATAL_FAILURE(FillRandomly(GetParam(), 6'000, versions, &pair_));
  }

  Pair pair_{L0Buffer::Options{.expected_rows = 1'000}};
};

TEST_P(L0BufferModelTest, CursorWalksEveryVersionInOrder) {
  L0Buffer::Cursor cursor(pair_.buffer);
  cursor.Seek("");
  for (const Model::value_type& row : pair_.model) {
    ASSERT_TRUE(cursor.Valid());
    ASSERT_EQ(Describe(cursor.row()), Describe(row));
    cursor.Next();
  }
  EXPECT_FALSE(cursor.Valid());
  EXPECT_EQ(pair_.buffer.row_count(), pair_.model.size());
}

TEST_P(L0BufferModelTest, FindAnswersForEveryKeyAtEveryVersion) {
  std::mt19937_64 random(GetParam());
  KeySource keys(&random);
  std::vector<std::string> asked;
  for (const auto& row : pair_.model) asked.push_back(row.first.first);
  for (int i = 0; i < 2'000; ++i) asked.push_back(keys.Next());
  for (const std::string& key : asked) {
    for (Version at_most : {Version{0}, Version{1}, 1 + random() % 8, random() % 1'100, kNewest}) {
      const auto want = pair_.Find(key, at_most);
      L0Row row;
      ASSERT_EQ(pair_.buffer.Find(key, at_most, &row), want != pair_.model.end());
      if (want != pair_.model.end()) {
        ASSERT_EQ(Describe(row), Describe(*want));
      }
    }
  }
}

TEST_P(L0BufferModelTest, SeekSeekBeforeAndNextKeyLandOnNewestVersions) {
  std::mt19937_64 random(GetParam());
  KeySource keys(&random);
  L0Buffer::Cursor cursor(pair_.buffer);
  const auto expect_at = [&](Model::const_iterator want, const char* what) {
    ASSERT_EQ(cursor.Valid(), want != pair_.model.end()) << what;
    if (cursor.Valid()) {
      ASSERT_EQ(Describe(cursor.row()), Describe(*want)) << what;
    }
  };
  for (int i = 0; i < 3'000; ++i) {
    const std::string key =
        i % 2 == 0 ? keys.Next()
                   : std::next(pair_.model.begin(), random() % pair_.model.size())->first.first;
    const auto at = pair_.model.lower_bound({key, kNewest});
    cursor.Seek(key);
    ASSERT_NO_FATAL_FAILURE(expect_at(at, "Seek"));
    if (at != pair_.model.end()) {
      cursor.NextKey();
      ASSERT_NO_FATAL_FAILURE(expect_at(pair_.model.upper_bound({at->first.first, 0}), "NextKey"));
    }
    cursor.SeekBefore(key);
    const auto before = at == pair_.model.begin()
                            ? pair_.model.end()
                            : pair_.model.lower_bound({std::prev(at)->first.first, kNewest});
    ASSERT_NO_FATAL_FAILURE(expect_at(before, "SeekBefore"));
  }
  cursor.SeekToLast();
  const std::string& last = pair_.model.rbegin()->first.first;
  ASSERT_NO_FATAL_FAILURE(expect_at(pair_.model.lower_bound({last, kNewest}), "SeekToLast"));
}

INSTANTIATE_TEST_SUITE_P(Seeds, L0BufferModelTest, ::testing::Values(1, 2, 3, 4, 5, 6));

// Inserts `keys` under versions 1, 2, ... and expects the cursor to bring them back sorted.
void ExpectSorted(std::vector<std::string> keys) {
  L0Buffer buffer({});
  Version version = 0;
  for (const std::string& key : keys) {
    ASSERT_TRUE(buffer.Reserve(1, key.size()).ok());
    buffer.Insert({L0Row{.key = key, .version = ++version}});
  }
  std::sort(keys.begin(), keys.end());
  L0Buffer::Cursor cursor(buffer);
  cursor.Seek("");
  for (const std::string& key : keys) {
    ASSERT_TRUE(cursor.Valid());
    ASSERT_EQ(cursor.row().key, key);
    cursor.Next();
  }
  ASSERT_FALSE(cursor.Valid());
  for (const std::string& key : keys) {
    L0Row row;
    ASSERT_TRUE(buffer.Find(key, version, &row)) << key;
    ASSERT_EQ(row.key, key);
  }
}

TEST(L0BufferTest, AscendingDescendingAndInterleavedKeysStaySorted) {
  std::vector<std::string> keys;
  for (int i = 100'000; i < 110'000; ++i) {
    keys.push_back(EncodeRowKey({.collection = 1, .id = "user:" + std::to_string(i)}));
  }
  ASSERT_NO_FATAL_FAILURE(ExpectSorted(keys));
  std::reverse(keys.begin(), keys.end());
  ASSERT_NO_FATAL_FAILURE(ExpectSorted(keys));
  std::vector<std::string> interleaved;
  for (size_t i = 0; i < keys.size(); ++i) interleaved.push_back(keys[i * 7919 % keys.size()]);
  ASSERT_NO_FATAL_FAILURE(ExpectSorted(interleaved));
}

TEST(L0BufferTest, EmptyBufferAnswersNothing) {
  L0Buffer buffer({});
  L0Row row;
  EXPECT_FALSE(buffer.Find("a", kNewest, &row));
  EXPECT_FALSE(buffer.Find("", kNewest, &row));
  L0Buffer::Cursor cursor(buffer);
  cursor.Seek("");
  EXPECT_FALSE(cursor.Valid());
  cursor.SeekToLast();
  EXPECT_FALSE(cursor.Valid());
  cursor.SeekBefore("a");
  EXPECT_FALSE(cursor.Valid());
  EXPECT_EQ(buffer.row_count(), 0u);
  EXPECT_EQ(buffer.first_version(), kNoVersion);
  EXPECT_EQ(buffer.last_version(), kNoVersion);
}

TEST(L0BufferTest, OneKeyKeepsEveryVersion) {
  constexpr Version kVersions = 20'000;
  L0Buffer buffer({});
  ASSERT_TRUE(buffer.Reserve(kVersions, kVersions * 3).ok());
  for (Version version = 1; version <= kVersions; ++version) {
    buffer.Insert({L0Row{.key = "hot", .version = version}});
  }
  for (Version version = 1; version <= kVersions; version += 97) {
    L0Row row;
    ASSERT_TRUE(buffer.Find("hot", version, &row));
    ASSERT_EQ(row.version, version);
  }
  L0Buffer::Cursor cursor(buffer);
  cursor.Seek("");
  ASSERT_EQ(cursor.row().version, kVersions);
  cursor.NextKey();
  EXPECT_FALSE(cursor.Valid());
  EXPECT_EQ(buffer.first_version(), 1u);
  EXPECT_EQ(buffer.last_version(), kVersions);
}

TEST(L0BufferTest, LargeValuesComeBackWhole) {
  L0Buffer buffer({});
  const std::string large(size_t{1} << 20, 'x');
  for (Version version = 1; version <= 8; ++version) {
    const std::string value = large + std::to_string(version);
    ASSERT_TRUE(buffer.Reserve(1, 1 + value.size()).ok());
    buffer.Insert({L0Row{.key = "k", .version = version, .value = value}});
  }
  L0Row row;
  ASSERT_TRUE(buffer.Find("k", 5, &row));
  EXPECT_EQ(row.value, large + "5");
  EXPECT_GE(buffer.bytes(), 8 * large.size());
}

TEST(L0BufferTest, RefusedReserveLeavesTheBufferUsable) {
  L0Buffer buffer({.expected_rows = 1'000, .bytes_max = size_t{8} << 20});
  ASSERT_TRUE(buffer.Reserve(10, 1'000).ok());
  EXPECT_EQ(buffer.Reserve(1, size_t{16} << 20).code(), absl::StatusCode::kResourceExhausted);
  // What was reserved before still fits, and rows of the refused size do not hurt what is there.
  for (Version version = 1; version <= 10; ++version) {
    buffer.Insert({L0Row{.key = "k", .version = version, .value = "0123456789"}});
  }
  Version version = 10;
  while (buffer.Reserve(1'000, 1'000'000).ok()) {
    const std::string value(999, 'v');
    for (int i = 0; i < 1'000; ++i) {
      buffer.Insert({L0Row{.key = "k", .version = ++version, .value = value}});
    }
  }
  EXPECT_GT(version, 1'000u);
  for (Version asked = 1; asked <= version; ++asked) {
    L0Row row;
    ASSERT_TRUE(buffer.Find("k", asked, &row));
    ASSERT_EQ(row.version, asked);
  }
}

TEST(L0BufferTest, BytesGrowWithWhatIsInserted) {
  L0Buffer buffer({});
  const size_t empty = buffer.bytes();
  ASSERT_TRUE(buffer.Reserve(1'000, 1'000 * 104).ok());
  const std::string value(100, 'v');
  for (Version version = 1; version <= 1'000; ++version) {
    buffer.Insert({L0Row{.key = "key.", .version = version, .value = value}});
  }
  EXPECT_GE(buffer.bytes() - empty, 1'000u * 104);
  EXPECT_LE(buffer.bytes() - empty, 1'000u * 104 * 3);
}

// The row of a version and number, so that a reader knows what must be there.
std::string ConcurrentKey(Version version, int i) {
  const uint64_t mixed = (version * 16 + i) * 0x9e3779b97f4a7c15;
  return EncodeRowKey({.collection = 1, .id = std::to_string(mixed % 5'000)});
}

void ReadUntil(const L0Buffer& buffer, const std::atomic<Version>& published, Version last,
               uint64_t seed) {
  std::mt19937_64 random(seed);
  Version seen = 0;
  while (seen < last) {
    seen = published.load(std::memory_order_acquire);  // Pairs with the writer's release store.
    if (seen == 0) continue;
    for (int i = 0; i < 50; ++i) {
      const Version version = 1 + random() % seen;
      const std::string key = ConcurrentKey(version, static_cast<int>(random() % 8));
      L0Row row;
      ASSERT_TRUE(buffer.Find(key, seen, &row)) << "version " << version << " of " << seen;
      ASSERT_EQ(row.key, key);
      ASSERT_GE(row.version, version);
      ASSERT_LE(row.version, seen);
      ASSERT_TRUE(buffer.Find(key, version, &row));
      ASSERT_EQ(row.version, version);
      ASSERT_EQ(row.value, std::to_string(version));
    }
    L0Buffer::Cursor cursor(buffer);
    size_t rows = 0;
    std::string key;
    Version version = 0;
    for (cursor.Seek(""); cursor.Valid(); cursor.Next()) {
      const L0Row row = cursor.row();
      ASSERT_TRUE(key < row.key || (key == row.key && version > row.version));
      key = row.key;
      version = row.version;
      rows += version <= seen ? 1 : 0;
    }
    ASSERT_GE(rows, seen);  // At least one row a version, none of them missed.
    size_t keys = 0;
    for (cursor.SeekToLast(); cursor.Valid() && keys < 200; cursor.SeekBefore(key), ++keys) {
      ASSERT_TRUE(keys == 0 || cursor.row().key < key);
      key = cursor.row().key;
    }
  }
}

TEST(L0BufferTest, ReadersFindEverythingPublishedWhileRowsAreInserted) {
  constexpr Version kLast = 3'000;
  L0Buffer buffer({.expected_rows = 1'000});
  std::atomic<Version> published{0};
  std::vector<std::thread> readers;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    readers.emplace_back([&, seed] { ReadUntil(buffer, published, kLast, seed); });
  }
  for (Version version = 1; version <= kLast;) {
    // Groups of one to eight versions, as the committer inserts them.
    const Version end = std::min(kLast + 1, version + 1 + version % 8);
    std::vector<std::string> keys;
    std::vector<std::string> values;
    std::vector<L0Row> rows;
    keys.reserve(64);
    values.reserve(64);
    for (; version < end; ++version) {
      const size_t first = keys.size();
      values.push_back(std::to_string(version));
      for (int i = 0; i < 8; ++i) {
        const std::string key = ConcurrentKey(version, i);
        if (std::find(keys.begin() + first, keys.end(), key) != keys.end()) continue;
        keys.push_back(key);
        rows.push_back({.key = keys.back(), .version = version, .value = values.back()});
      }
    }
    ASSERT_TRUE(buffer.Reserve(rows.size(), rows.size() * 32).ok());
    buffer.Insert(rows);
    published.store(end - 1, std::memory_order_release);
  }
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace millrace::storage
