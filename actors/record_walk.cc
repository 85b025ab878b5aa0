#include "millrace/actors/record_walk.h"

#include <algorithm>
#include <exception>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace millrace {
namespace {

using storage::Record;
using storage::RecordRef;

constexpr char kOwner[] = "record walk";

Record Owned(const RecordRef& record) {
  return {.id = std::string(record.id),
          .version = record.version,
          .document = storage::Document::FromTrustedBytes(std::string(record.document))};
}

absl::StatusOr<Visited> Guarded(RecordVisitor visit, const Record& record) {
  try {
    return visit(record);
  } catch (const std::exception& exception) {
    return absl::InternalError(absl::StrCat("the visitor threw: ", exception.what()));
  } catch (...) {
    return absl::InternalError("the visitor threw");
  }
}

// False: the visitor wants no more.
bool VisitAll(const std::vector<Record>& records, RecordVisitor visit, WalkStats* stats) {
  for (const Record& record : records) {
    const absl::StatusOr<Visited> visited = Guarded(visit, record);
    ++stats->scanned;
    if (!visited.ok()) {
      if (stats->errors++ == 0) {
        stats->first_error = visited.status();
        stats->first_error_id = record.id;
      }
    } else if (*visited == Visited::kStop) {
      return false;
    } else if (*visited == Visited::kChanged) {
      ++stats->modified;
    }
  }
  return true;
}

// `read` gives the next records, at most as many as it is told; fewer are the last.
absl::StatusOr<WalkStats> Walk(
    const WalkOptions& options, RecordVisitor visit,
    absl::FunctionRef<absl::StatusOr<std::vector<Record>>(size_t)> read) {
  if (options.batch_size == 0) {
    return absl::InvalidArgumentError("option batch_size must be at least 1");
  }
  WalkStats stats;
  for (;;) {
    const uint64_t left = options.limit - stats.scanned;
    const auto wanted = static_cast<size_t>(std::min<uint64_t>(options.batch_size, left));
    if (wanted == 0) return stats;
    const absl::StatusOr<std::vector<Record>> records = read(wanted);
    if (!records.ok()) return records.status();
    if (!VisitAll(*records, visit, &stats) || records->size() < wanted) return stats;
  }
}

}  // namespace

absl::StatusOr<WalkStats> WalkRecords(Engine& engine, const storage::Collection& collection,
                                      const WalkOptions& options, RecordVisitor visit) {
  std::string from;
  return Walk(options, visit, [&](size_t wanted) -> absl::StatusOr<std::vector<Record>> {
    const absl::StatusOr<storage::Snapshot> snapshot = engine.TakeSnapshot(kOwner);
    if (!snapshot.ok()) return snapshot.status();
    std::vector<Record> records;
    const absl::Status status =
        snapshot->Scan(collection, {.from = from}, [&](const RecordRef& record) {
          records.push_back(Owned(record));
          return records.size() < wanted;
        });
    if (!status.ok()) return status;
    if (!records.empty()) from = records.back().id + '\0';
    return records;
  });
}

absl::StatusOr<WalkStats> WalkRecords(Engine& engine, const FoundRecords& found,
                                      const WalkOptions& options, RecordVisitor visit) {
  storage::IndexQuery query = found.query;
  bool ended = false;
  return Walk(options, visit, [&](size_t wanted) -> absl::StatusOr<std::vector<Record>> {
    std::vector<Record> records;
    if (ended) return records;
    const absl::StatusOr<storage::Snapshot> snapshot = engine.TakeSnapshot(kOwner);
    if (!snapshot.ok()) return snapshot.status();
    query.limit = wanted;
    absl::StatusOr<storage::FoundPage> page =
        snapshot->Find(found.index, query, [&records](const RecordRef& record) {
          records.push_back(Owned(record));
          return true;
        });
    if (!page.ok()) return page.status();
    ended = page->next.empty();
    query.after = std::move(page->next);
    query.offset = 0;
    return records;
  });
}

}  // namespace millrace
