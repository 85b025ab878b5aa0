#include "millrace/storage/generations.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/environment.h"
#include "millrace/storage/sealed_row.h"

namespace millrace::storage {
namespace {

absl::Status Unexpected(const GenerationChange& change, absl::string_view found) {
  return absl::AbortedError(absl::StrCat("index '", change.definition.name, "' generation ",
                                         change.generation, ": ", found));
}

// What served or was building, if there was any, waits for its deletion.
void Retire(Generation* generation, GenerationState* state) {
  if (*generation != 0) state->retired.push_back(std::exchange(*generation, 0));
}

// The state behind `change`, or why there is none.
absl::StatusOr<GenerationState> Changed(GenerationState state, const GenerationChange& change) {
  switch (change.kind) {
    case GenerationChange::Kind::kAllocate:
      if (state.dropped) return Unexpected(change, "the index was dropped");
      if (state.building != 0) return Unexpected(change, "another one is building");
      if (state.IsForeign()) Retire(&state.live, &state);
      state.building = ++state.last;
      state.building_definition = change.definition.number;
      return state;
    case GenerationChange::Kind::kFlip:
      if (state.building != change.generation) return Unexpected(change, "it is not building");
      Retire(&state.live, &state);
      state.live = std::exchange(state.building, 0);
      state.live_definition = std::exchange(state.building_definition, 0);
      state.built_at = change.built_at;
      state.row_count = change.row_count;
      state.record_count = change.record_count;
      state.format = kIndexFormat;
      return state;
    case GenerationChange::Kind::kAbandon:
      if (state.building != change.generation) return Unexpected(change, "it is not building");
      Retire(&state.building, &state);
      state.building_definition = 0;
      return state;
    case GenerationChange::Kind::kDrop:
      if (state.dropped) return Unexpected(change, "the index was dropped before");
      Retire(&state.live, &state);
      Retire(&state.building, &state);
      state.dropped = true;
      return state;
    case GenerationChange::Kind::kForget:
      if (std::erase(state.retired, change.generation) == 0) {
        return Unexpected(change, "it is not retired");
      }
      return state;
    case GenerationChange::Kind::kAdopt:
      if (state.Has(change.generation) || std::find(state.retired.begin(), state.retired.end(),
                                                    change.generation) != state.retired.end()) {
        return Unexpected(change, "it is known");
      }
      state.retired.push_back(change.generation);
      state.last = std::max(state.last, change.generation);
      return state;
  }
  return absl::InternalError("unknown change of generations");
}

// `transaction` reads or writes.
template <typename Transaction>
absl::StatusOr<GenerationState> Read(const Transaction& transaction,
                                     const IndexDefinition& definition) {
  const auto row = transaction.Get(TreeId::kGenerations, GenerationKey(definition.id));
  if (!row.ok()) return row.status();
  return row->has_value() ? DecodeGenerations(**row) : InitialGenerations(definition);
}

}  // namespace

bool GenerationState::IsRetired(Generation generation) const {
  return std::find(retired.begin(), retired.end(), generation) != retired.end();
}

GenerationState InitialGenerations(const IndexDefinition& definition) {
  GenerationState state{.index = definition.id, .last = 1};
  if (definition.complete_at == 0) return state;
  state.live = 1;
  state.live_definition = definition.complete_at;
  state.format = kIndexFormat;
  return state;
}

std::string GenerationKey(IndexId index) {
  std::string key;
  AppendOrderedInteger(index, &key);
  return key;
}

std::string EncodeGenerations(const GenerationState& state) {
  flexbuffers::Builder builder;
  builder.Map([&] {
    builder.UInt("index", state.index);
    builder.UInt("last", state.last);
    builder.UInt("live", state.live);
    builder.UInt("live_definition", state.live_definition);
    builder.UInt("building", state.building);
    builder.UInt("building_definition", state.building_definition);
    builder.Vector("retired", [&] {
      for (Generation generation : state.retired) builder.UInt(generation);
    });
    builder.Bool("dropped", state.dropped);
    builder.Int("built_at",
                state.built_at == absl::InfinitePast() ? 0 : absl::ToUnixNanos(state.built_at));
    builder.UInt("row_count", state.row_count);
    builder.UInt("record_count", state.record_count);
    builder.UInt("format", state.format);
  });
  return SealRow(&builder);
}

absl::StatusOr<GenerationState> DecodeGenerations(std::string_view bytes) {
  const absl::StatusOr<std::string> body =
      UnsealRow(bytes, "row of an index's generations", "rebuild the index");
  if (!body.ok()) return body.status();
  const flexbuffers::Map map = RowMap(*body);
  GenerationState state{.index = map["index"].AsUInt64(),
                        .last = map["last"].AsUInt64(),
                        .live = map["live"].AsUInt64(),
                        .live_definition = map["live_definition"].AsUInt64(),
                        .building = map["building"].AsUInt64(),
                        .building_definition = map["building_definition"].AsUInt64(),
                        .dropped = map["dropped"].AsBool(),
                        .row_count = map["row_count"].AsUInt64(),
                        .record_count = map["record_count"].AsUInt64(),
                        .format = map["format"].AsUInt64()};
  const flexbuffers::Vector retired = map["retired"].AsVector();
  for (size_t i = 0; i < retired.size(); ++i) state.retired.push_back(retired[i].AsUInt64());
  const int64_t built_at = map["built_at"].AsInt64();
  if (built_at != 0) state.built_at = absl::FromUnixNanos(built_at);
  return state;
}

absl::StatusOr<GenerationState> ReadGenerations(const ReadTransaction& transaction,
                                                const IndexDefinition& definition) {
  return Read(transaction, definition);
}

absl::StatusOr<GenerationState> ReadGenerations(const WriteTransaction& transaction,
                                                const IndexDefinition& definition) {
  return Read(transaction, definition);
}

absl::StatusOr<std::vector<GenerationState>> ListGenerations(const ReadTransaction& transaction) {
  std::vector<GenerationState> states;
  Cursor rows = transaction.NewCursor(TreeId::kGenerations);
  for (rows.Seek(""); rows.Valid(); rows.Next()) {
    absl::StatusOr<GenerationState> state = DecodeGenerations(rows.value());
    if (!state.ok()) return state.status();
    states.push_back(*std::move(state));
  }
  if (!rows.status().ok()) return rows.status();
  return states;
}

absl::StatusOr<GenerationState> ChangeGenerations(WriteTransaction& transaction,
                                                  const GenerationChange& change) {
  absl::StatusOr<GenerationState> state = ReadGenerations(transaction, change.definition);
  if (!state.ok()) return state;
  state = Changed(*std::move(state), change);
  if (!state.ok()) return state;
  const std::string key = GenerationKey(change.definition.id);
  const absl::Status status =
      state->dropped && state->retired.empty()
          ? transaction.Delete(TreeId::kGenerations, key).status()
          : transaction.Put(TreeId::kGenerations, key, EncodeGenerations(*state));
  if (!status.ok()) return status;
  return state;
}

}  // namespace millrace::storage
