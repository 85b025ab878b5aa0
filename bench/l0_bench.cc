// Which ordered map should the L0 buffer be? Rows of 116 bytes go in, in groups as the committer
// has them; then every row is found, as many absent keys are not, and all are walked. The rates are
// of this thread's processor time, so that other load on the machine weighs less.
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/harness.h"
#include "bench/skip_list.h"

#include "millrace/storage/l0_buffer.h"

namespace millrace {
namespace {

using storage::L0Row;
using storage::Version;

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// The same calls for every map.
struct Tree {
  explicit Tree(size_t rows) : buffer({.expected_rows = rows}) {}
  void Insert(absl::Span<const L0Row> rows) {
    size_t bytes = 0;
    for (const L0Row& row : rows) bytes += row.key.size() + row.value.size();
    if (buffer.Reserve(rows.size(), bytes).ok()) buffer.Insert(rows);
  }
  bool Find(std::string_view key, L0Row* row) const { return buffer.Find(key, ~Version{0}, row); }
  template <typename Visit>
  void Scan(Visit visit) const {
    storage::L0Buffer::Cursor cursor(buffer);
    for (cursor.Seek(""); cursor.Valid(); cursor.Next()) visit(cursor.row());
  }
  size_t bytes() const { return buffer.bytes(); }

  storage::L0Buffer buffer;
};

struct List {
  explicit List(const SkipList::Options& options) : list(options) {}
  void Insert(absl::Span<const L0Row> rows) { list.Insert(rows); }
  bool Find(std::string_view key, L0Row* row) const { return list.Find(key, ~Version{0}, row); }
  template <typename Visit>
  void Scan(Visit visit) const {
    list.Scan(visit);
  }
  size_t bytes() const { return list.bytes(); }

  SkipList list;
};

// Without locks, so without readers: the floor of what any such map costs.
struct StdMap {
  using Key = std::pair<std::string, Version>;  // The version complemented, so newest first.

  void Insert(absl::Span<const L0Row> rows) {
    for (const L0Row& row : rows) {
      map.emplace(Key(row.key, ~row.version), row.value);
      row_bytes += sizeof(Key) + sizeof(std::string) + 32 + row.key.size() + row.value.size();
    }
  }
  bool Find(std::string_view key, L0Row* row) const {
    const auto found = map.lower_bound(Key(key, 0));
    if (found == map.end() || found->first.first != key) return false;
    *row = {found->first.first, ~found->first.second, false, found->second};
    return true;
  }
  template <typename Visit>
  void Scan(Visit visit) const {
    for (const auto& [key, value] : map) visit(L0Row{key.first, ~key.second, false, value});
  }
  size_t bytes() const { return row_bytes; }

  std::map<Key, std::string> map;
  size_t row_bytes = 0;
};

// Keys as EncodeRowKey makes them, and as many that are absent.
struct Input {
  std::vector<std::string> keys;
  std::vector<std::string> absent;
  std::string value = std::string(100 - 3, 'v');
  std::vector<L0Row> rows;
  std::vector<uint32_t> shuffled;
};

Input MakeInput(const std::string& kind, size_t count) {
  std::mt19937_64 random(20261121);
  Input input;
  for (size_t i = 0; i < count; ++i) {
    std::string id;
    if (kind == "random") {
      for (int byte = 0; byte < 16; ++byte) id.push_back(static_cast<char>(random()));
    } else {
      const uint64_t number = kind == "ascending" ? i : random() % 1'000'000'000'000;
      id = absl::StrCat("user:profile:", 1'000'000'000'000 + number);
    }
    input.keys.push_back(storage::EncodeRowKey({.collection = 7, .id = id}));
    input.absent.push_back(input.keys.back() + "x");
    input.shuffled.push_back(static_cast<uint32_t>(i));
  }
  for (size_t i = 0; i < count; ++i) {
    input.rows.push_back({.key = input.keys[i], .version = i + 1, .value = input.value});
  }
  std::shuffle(input.shuffled.begin(), input.shuffled.end(), random);
  return input;
}

template <typename Map>
absl::StatusOr<std::vector<BenchMetric>> Measure(Map map, const Input& input, size_t group) {
  const absl::Span<const L0Row> rows(input.rows);
  const double begin = ThreadSeconds();
  for (size_t i = 0; i < rows.size(); i += group) map->Insert(rows.subspan(i, group));
  const double inserted = ThreadSeconds();
  size_t hits = 0;
  size_t misses = 0;
  L0Row row;
  for (uint32_t i : input.shuffled) hits += map->Find(input.keys[i], &row) ? 1 : 0;
  const double found = ThreadSeconds();
  for (uint32_t i : input.shuffled) misses += map->Find(input.absent[i], &row) ? 0 : 1;
  const double missed = ThreadSeconds();
  size_t walked = 0;
  std::string_view last;
  map->Scan([&](const L0Row& at) {
    walked += last < at.key ? 1 : 0;
    last = at.key;
  });
  const double scanned = ThreadSeconds();
  // Two ids may be the same number; then they are versions of one row.
  if (hits != rows.size() || misses != rows.size() || walked + 100 < rows.size()) {
    return absl::InternalError(absl::StrCat("wrong answers: ", hits, " hits, ", misses, " misses, ",
                                            walked, " rows in order"));
  }
  const double count = static_cast<double>(rows.size());
  return std::vector<BenchMetric>{
      {"per_second", "inserts/s", count / (inserted - begin)},
      {"hit_ns", "ns", (found - inserted) / count * 1e9},
      {"miss_ns", "ns", (missed - found) / count * 1e9},
      {"scan_per_second", "rows/s", count / (scanned - missed)},
      {"bytes_per_row", "bytes", static_cast<double>(map->bytes()) / count}};
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;  // NOLINT(google-build-using-namespace)
  BenchSuite suite("l0", argc, argv);
  const size_t count = static_cast<size_t>(suite.Scale(400'000, 5'000));
  std::map<std::string, Input> inputs;
  for (const char* kind : {"random", "ids", "ascending"}) {
    const Input& input = inputs[kind] = MakeInput(kind, count);
    for (size_t group : {size_t{1}, size_t{64}, size_t{1'000}}) {
      const std::string name = absl::StrCat(kind, " group=", group);
      suite.Add(name, "millrace", [&input, group] {
        return Measure(std::make_unique<Tree>(input.keys.size()), input, group);
      });
      suite.Add(name, "skip-list", [&input, group] {
        return Measure(std::make_unique<List>(SkipList::Options{}), input, group);
      });
      suite.Add(name, "skip-list-plain", [&input, group] {
        return Measure(
            std::make_unique<List>(SkipList::Options{.inline_slice = false, .lockstep = false}),
            input, group);
      });
      suite.Add(name, "std-map",
                [&input, group] { return Measure(std::make_unique<StdMap>(), input, group); });
    }
  }
  return suite.Run();
}
