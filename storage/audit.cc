#include "millrace/storage/audit.h"

#include <optional>
#include <string>
#include <utility>

#include "millrace/storage/flush_window.h"

namespace millrace::storage {
namespace {

// Why the generations cannot be compared with the records; null if they can.
const char* Obstacle(const GenerationState& state, const IndexDefinition& index) {
  if (state.dropped) return "it is being dropped";
  if (state.live == 0) {
    return state.building != 0 ? "its first build is under way" : "it was never built";
  }
  if (!state.Serves()) return "a newer version of Millrace built it; rebuild it";
  if (!state.Fulfils(index)) return "it was built for an earlier definition; rebuild it";
  return nullptr;
}

}  // namespace

absl::StatusOr<MarkedIndex> FindAuditable(const RowView& view, const IndexDefinition& index) {
  const absl::StatusOr<FlushWindow> window = FlushWindow::Of(view);
  if (!window.ok()) return window.status();
  const std::string row_key = IndexDefinitionKey(index.collection, index.name);
  const absl::StatusOr<std::optional<CurrentRow>> row = FindInLmdb(view.transaction(), row_key);
  if (!row.ok()) return row.status();
  if (!row->has_value() || PeekIndexId((*row)->payload) != index.id) {
    return absl::FailedPreconditionError("its definition is not flushed yet");
  }
  if (window->Brings((*row)->version)) {
    return absl::FailedPreconditionError("the flush under way defines it");
  }
  const absl::StatusOr<IndexDefinition> flushed = ReadIndexDefinition(row_key, (*row)->payload);
  if (!flushed.ok()) return flushed.status();
  MarkedIndex marked(*flushed);
  absl::StatusOr<GenerationState> state = ReadGenerations(view.transaction(), *flushed);
  if (!state.ok()) return state.status();
  if (const char* const obstacle = Obstacle(*state, *flushed)) {
    return absl::FailedPreconditionError(obstacle);
  }
  marked.generations = *std::move(state);
  return marked;
}

}  // namespace millrace::storage
