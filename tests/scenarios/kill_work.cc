#include "tests/scenarios/kill_work.h"

#include <algorithm>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace millrace::testing {
namespace {

using storage::IndexDefinition;
using storage::IndexKind;
using storage::Snapshot;
using storage::Version;

constexpr uint64_t kUnlinkedLater = 5;  // By the batch so much later.

uint64_t RowsOf(uint64_t batch) {
  return 1 + batch % 3;
}
std::string CounterId(uint64_t thread) {
  return absl::StrCat("count/", thread);
}
std::string RowId(uint64_t thread, uint64_t batch, uint64_t row) {
  return absl::StrCat(thread, "/", batch, "/", row);
}
bool IsLinked(uint64_t batch) {
  return batch % 2 == 0;
}
bool IsStaged(uint64_t batch) {
  return batch % 6 == 0;
}
bool IsUnlinked(uint64_t batch) {
  return batch % 7 == 0;
}
bool AreMembers(uint64_t batch, uint64_t batch_count) {
  return IsLinked(batch) && !IsStaged(batch) &&
         !(IsUnlinked(batch) && batch + kUnlinkedLater < batch_count);
}

storage::Document CounterDocument(uint64_t batch) {
  return *storage::DocumentBuilder().Set("n", static_cast<int64_t>(batch)).Finish();
}
storage::Document RowDocument(uint64_t thread, uint64_t batch, uint64_t row) {
  return *storage::DocumentBuilder()
              .Set("key", RowId(thread, batch, row))
              .Set("n", static_cast<int64_t>(batch))
              .Set("slot", static_cast<int64_t>(3 * batch + row))
              .Set("text", std::string(batch % 300, 'x'))
              .Finish();
}

// One look at a store; the first fault ends it.
class Reading {
 public:
  explicit Reading(const Snapshot& snapshot) : snapshot_(snapshot) {}

  KillContents Run() {
    const absl::StatusOr<storage::Collection> work = snapshot_.FindCollection(kKillCollection);
    if (!work.ok()) {
      if (snapshot_.version() != 0) Fail(work.status().ToString());
      return std::move(contents_);
    }
    work_ = *work;
    ReadAll();
    if (absl::IsAborted(snapshot_.Count(work_).status())) return {.ended = true};
    return std::move(contents_);
  }

 private:
  void ReadAll() {
    for (uint64_t thread = 0; thread < kKillThreadCount; ++thread) Expect(thread);
    ReadRecords();
    ReadIndexes();
    ReadRelation();
    ReadVersion();
  }
  void Fail(std::string what) {
    if (contents_.fault.empty()) contents_.fault = std::move(what);
  }
  bool failed() const { return !contents_.fault.empty(); }

  void Expect(uint64_t thread) {
    const uint64_t end = NextBatch(snapshot_, work_, thread);
    contents_.batch_counts[thread] = end;
    if (end == 0) return;
    want_[CounterId(thread)] = CounterDocument(end - 1);
    for (uint64_t batch = end - std::min(end, kKillBatchesKept); batch < end; ++batch) {
      for (uint64_t row = 0; row < RowsOf(batch); ++row) {
        const std::string id = RowId(thread, batch, row);
        want_[id] = RowDocument(thread, batch, row);
        rows_.insert(id);
        if (AreMembers(batch, end)) members_[thread].insert(id);
      }
    }
  }

  // Exactly the records of whole batches, each at one version and with its content.
  void ReadRecords() {
    uint64_t found_count = 0;
    const absl::Status status = snapshot_.Scan(work_, {}, [&](const storage::RecordRef& record) {
      const std::string id(record.id);
      const auto expected = want_.find(id);
      if (expected == want_.end()) {
        Fail("unexpected " + id);
      } else if (record.document != expected->second.bytes()) {
        Fail("wrong document of " + id);
      } else {
        ReadBatch(id, record.version);
      }
      ++found_count;
      return !failed();
    });
    if (!status.ok()) Fail(status.ToString());
    if (found_count != want_.size()) {
      Fail(absl::StrCat(want_.size(), " records should be there, ", found_count, " are"));
    }
    const absl::StatusOr<uint64_t> count = snapshot_.Count(work_);
    if (!count.ok() || *count != want_.size()) Fail("the count differs");
  }
  void ReadBatch(const std::string& id, Version version) {
    if (id.starts_with("count/")) return;
    const uint64_t thread = std::stoull(id);
    const uint64_t batch = std::stoull(id.substr(id.find('/') + 1));
    if (contents_.versions[thread].emplace(batch, version).first->second != version) {
      Fail(absl::StrCat("batch ", batch, " of thread ", thread, " is in two versions"));
    }
  }

  void ReadIndexes() {
    std::set<std::string> all;
    for (const auto& [id, document] : want_) all.insert(id);
    ReadIndex("n", {}, all);
    ReadIndex("key", {}, rows_);
    for (uint64_t thread = 0; thread < kKillThreadCount; ++thread) {
      ReadIndex("slot@rows", {.owner = CounterId(thread)}, members_[thread]);
    }
  }
  void ReadIndex(const char* name, const storage::IndexQuery& query,
                 const std::set<std::string>& want) {
    const absl::StatusOr<IndexDefinition> index = snapshot_.FindIndex(work_, name);
    if (!index.ok()) {
      // A child was killed before it had defined everything.
      if (!absl::IsNotFound(index.status()) || !rows_.empty()) Fail(index.status().ToString());
      return;
    }
    ++definition_count_;
    if (index->scoped() && query.owner != CounterId(0)) --definition_count_;  // Counted once.
    std::set<std::string> found;
    const auto page = snapshot_.Find(*index, query, [&](const storage::RecordRef& record) {
      if (!found.emplace(record.id).second) Fail(absl::StrCat("index ", name, " finds one twice"));
      return true;
    });
    if (!page.ok()) {
      Fail(page.status().ToString());
    } else if (page->scanned) {
      Fail(absl::StrCat("index ", name, " has no build"));
    }
    Compare(absl::StrCat("index ", name), found, want);
  }

  void ReadRelation() {
    const absl::StatusOr<storage::Relation> rows = snapshot_.FindRelation("rows");
    if (!rows.ok()) {
      if (!absl::IsNotFound(rows.status()) || !rows_.empty()) Fail(rows.status().ToString());
      return;
    }
    ++definition_count_;
    for (uint64_t thread = 0; thread < kKillThreadCount; ++thread) {
      std::set<std::string> found;
      const auto page =
          snapshot_.Members(*rows, CounterId(thread), {}, [&](const storage::LinkRef& link) {
            found.emplace(link.member);
            return true;
          });
      if (!page.ok()) Fail(page.status().ToString());
      Compare("relation rows", found, members_[thread]);
    }
  }

  void Compare(const std::string& what, const std::set<std::string>& found,
               const std::set<std::string>& want) {
    for (const std::string& id : want) {
      if (found.count(id) == 0) return Fail(absl::StrCat(what, " lacks ", id));
    }
    for (const std::string& id : found) {
      if (want.count(id) == 0) return Fail(absl::StrCat(what, " has ", id));
    }
  }

  // Versions are dense: nothing in the middle is missing, and nothing is there twice.
  void ReadVersion() {
    uint64_t commits = 1 + definition_count_;  // The collection is one, too.
    for (const uint64_t count : contents_.batch_counts) commits += count;
    if (snapshot_.version() != commits) {
      Fail(absl::StrCat("version ", snapshot_.version(), " after ", commits, " commits"));
    }
  }

  const Snapshot& snapshot_;
  storage::Collection work_;
  KillContents contents_;
  std::map<std::string, storage::Document> want_;
  std::set<std::string> rows_;
  std::array<std::set<std::string>, kKillThreadCount> members_;
  uint64_t definition_count_ = 0;
};

}  // namespace

EngineOptions KillEngine(uint64_t seed) {
  EngineOptions options;
  options.quota_bytes = uint64_t{1} << 30;
  options.rotate_bytes = uint64_t{256} << 10;
  options.rotate_rows = 2'500;
  options.rotate_interval = absl::Milliseconds(20);
  options.l0_soft_bytes_max = uint64_t{8} << 20;
  options.l0_hard_bytes_max = uint64_t{16} << 20;
  options.log_file_bytes = uint64_t{1} << 20;
  options.sync_interval = absl::Milliseconds(3);
  // A build has runs to sort and merge.
  options.rebuild_memory_bytes = uint64_t{1} << 20;
  if (seed == 0) return options;
  std::mt19937_64 random(seed);
  options.rotate_bytes = uint64_t{16} << 10 << random() % 6;
  options.rotate_rows = 10 << random() % 10;
  options.rotate_interval = absl::Milliseconds(1 << random() % 8);
  options.pending_flushes_max = 1 + static_cast<uint32_t>(random() % 4);
  options.l0_soft_bytes_max = uint64_t{1} << 20 << random() % 5;
  options.l0_hard_bytes_max = 2 * options.l0_soft_bytes_max;
  options.sync_interval = absl::Milliseconds(1 << random() % 6);
  return options;
}

absl::StatusOr<KillSchema> DefineKillSchema(Engine& engine) {
  KillSchema schema;
  absl::StatusOr<storage::Collection> work = engine.CreateCollection(kKillCollection);
  if (!work.ok()) return work.status();
  schema.work = *std::move(work);
  absl::StatusOr<storage::Relation> rows =
      engine.DefineRelation({.name = "rows",
                             .owners = schema.work,
                             .members = schema.work,
                             .order = storage::MemberOrder::kInsertion});
  if (!rows.ok()) return rows.status();
  schema.rows = *std::move(rows);
  const auto index = [&](const storage::IndexOptions& options, IndexDefinition* definition) {
    const absl::StatusOr<IndexDefined> defined = engine.CreateIndex(schema.work, options);
    if (defined.ok()) *definition = defined->definition;
    return defined.status();
  };
  absl::Status status = index({.field = "n"}, &schema.number);
  if (status.ok()) status = index({.field = "key", .kind = IndexKind::kUnique}, &schema.key);
  if (status.ok()) {
    status = index({.field = "slot", .kind = IndexKind::kUnique, .scope = "rows"}, &schema.slot);
  }
  if (!status.ok()) return status;
  return schema;
}

storage::WriteBatch KillBatch(const KillSchema& schema, uint64_t thread, uint64_t batch_number) {
  const std::string counter = CounterId(thread);
  storage::WriteBatch batch;
  batch.Put(schema.work, counter, CounterDocument(batch_number));
  for (uint64_t row = 0; row < RowsOf(batch_number); ++row) {
    const std::string id = RowId(thread, batch_number, row);
    batch.Put(schema.work, id, RowDocument(thread, batch_number, row));
    if (!IsLinked(batch_number)) continue;
    if (IsStaged(batch_number)) {
      batch.Stage(schema.rows, counter, id);
    } else {
      batch.Link(schema.rows, counter, id);
    }
  }
  if (batch_number >= kUnlinkedLater && IsUnlinked(batch_number - kUnlinkedLater)) {
    const uint64_t linked = batch_number - kUnlinkedLater;
    for (uint64_t row = 0; row < RowsOf(linked); ++row) {
      batch.Unlink(schema.rows, counter, RowId(thread, linked, row));
    }
  }
  if (batch_number < kKillBatchesKept) return batch;
  const uint64_t old = batch_number - kKillBatchesKept;
  for (uint64_t row = 0; row < RowsOf(old); ++row) {
    batch.Delete(schema.work, RowId(thread, old, row));
  }
  return batch;
}

uint64_t NextBatch(const Snapshot& snapshot, const storage::Collection& collection,
                   uint64_t thread) {
  const absl::StatusOr<storage::Record> record = snapshot.Get(collection, CounterId(thread));
  if (!record.ok()) return 0;
  return static_cast<uint64_t>(std::get<int64_t>(*record->document.Field("n"))) + 1;
}

KillContents ReadKillStore(const Snapshot& snapshot) {
  return Reading(snapshot).Run();
}

}  // namespace millrace::testing
