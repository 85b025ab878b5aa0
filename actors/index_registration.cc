#include "millrace/actors/index_registration.h"

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace millrace {
namespace {

// What defines the index, as it is asked for.
storage::IndexOptions OptionsOf(const storage::IndexDefinition& index,
                                const std::map<storage::RelationId, std::string>& relations) {
  storage::IndexOptions options{.field = index.field, .kind = index.kind, .name = index.name};
  if (index.scoped()) options.scope = relations.at(index.scope);
  return options;
}

absl::StatusOr<std::vector<storage::IndexOptions>> ListOptions(
    Engine& engine, const storage::Collection& collection) {
  const absl::StatusOr<storage::Snapshot> snapshot = engine.TakeSnapshot("index registration");
  if (!snapshot.ok()) return snapshot.status();
  const absl::StatusOr<std::vector<storage::IndexInfo>> indexes = snapshot->ListIndexes();
  if (!indexes.ok()) return indexes.status();
  const absl::StatusOr<std::vector<storage::RelationInfo>> relations = snapshot->ListRelations();
  if (!relations.ok()) return relations.status();
  std::map<storage::RelationId, std::string> names;
  for (const storage::RelationInfo& info : *relations) {
    names[info.relation.id] = info.relation.name;
  }
  std::vector<storage::IndexOptions> all;
  for (const storage::IndexInfo& info : *indexes) {
    if (info.definition.collection != collection.id) continue;
    if (!info.status.ok()) return info.status;
    if (info.definition.scoped() && !names.contains(info.definition.scope)) {
      return absl::DataLossError(absl::StrCat("the relation that scopes index '",
                                              info.definition.name, "' is not in the catalog"));
    }
    all.push_back(OptionsOf(info.definition, names));
  }
  return all;
}

}  // namespace

absl::StatusOr<std::vector<IndexDefined>> CreateIndexes(
    Engine& engine, const storage::Collection& collection,
    absl::Span<const storage::IndexOptions> indexes, Registration registration,
    absl::Duration timeout) {
  std::vector<IndexDefined> all;
  for (const storage::IndexOptions& options : indexes) {
    absl::StatusOr<IndexDefined> defined = engine.CreateIndex(collection, options);
    if (!defined.ok()) return defined.status();
    all.push_back(*std::move(defined));
  }
  if (registration == Registration::kAsync) return all;
  for (IndexDefined& defined : all) {
    if (defined.complete) continue;
    if (defined.build == 0) {  // Its task could not be written then.
      const absl::StatusOr<storage::IndexTask> task = engine.ScheduleBuild(
          {.index = defined.definition.id, .reason = storage::BuildReason::kDefinition});
      if (!task.ok()) return task.status();
      defined.build = task->id;
    }
    const absl::StatusOr<storage::BuildResult> built = engine.WaitForBuild(defined.build, timeout);
    if (!built.ok()) return built.status();
    defined.complete = true;
  }
  return all;
}

absl::StatusOr<std::vector<storage::IndexOptions>> DeferIndexes(
    Engine& engine, const storage::Collection& collection) {
  absl::StatusOr<std::vector<storage::IndexOptions>> all = ListOptions(engine, collection);
  if (!all.ok()) return all;
  for (const storage::IndexOptions& index : *all) {
    const absl::StatusOr<IndexDropped> dropped = engine.DropIndex(collection, index.name);
    if (!dropped.ok()) return dropped.status();
  }
  return all;
}

}  // namespace millrace
