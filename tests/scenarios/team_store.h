#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/scenarios/changed_store.h"
#include "tests/scenarios/test_engine.h"

#include "millrace/storage/index_entry.h"

namespace millrace::testing {

// A store with all that is derived, to be changed behind the engine's back: people with a name
// (unique), a city and, within their teams, a badge; teams by score. Thread-compatible.
class TeamStore : protected ChangedStore {
 protected:
  // Nothing is rotated but by Flush; the log is small, for each test makes and copies one.
  static EngineOptions Quiet() {
    EngineOptions options = QuietEngine();
    options.log_file_bytes = uint64_t{1} << 20;
    return options;
  }

  // Fifty people in five teams, flushed; then some of them changed, moved and gone.
  void Build() {
    const std::unique_ptr<Engine> engine = OpenEngine(kept(), Quiet());
    ASSERT_NE(engine, nullptr);
    people_ = MakeCollection(*engine, "people");
    teams_ = MakeCollection(*engine, "teams");
    relation_ = *engine->DefineRelation({.name = "team",
                                         .owners = teams_,
                                         .members = people_,
                                         .order = storage::MemberOrder::kScore});
    name_ = engine->CreateIndex(people_, {.field = "name", .kind = storage::IndexKind::kUnique})
                ->definition;
    city_ = engine->CreateIndex(people_, {.field = "city"})->definition;
    badge_ = engine->CreateIndex(people_, {.field = "badge", .scope = "team"})->definition;
    storage::WriteBatch batch;
    for (int i = 0; i < 50; ++i) {
      batch.Put(people_, Person(i),
                Json(absl::StrCat(R"({"name":"n)", i, R"(","city":)", i % 7, R"(,"badge":"b)", i,
                                  R"("})")));
    }
    for (int i = 0; i < 5; ++i) batch.Put(teams_, Team(i), Number(i));
    for (int i = 0; i < 50; ++i) batch.Link(relation_, Team(i % 5), Person(i), i);
    MustCommit(*engine, std::move(batch));
    MustFlush(*engine);
    storage::WriteBatch more;
    more.Delete(people_, Person(3)).Delete(teams_, Team(4)).Unlink(relation_, Team(1), Person(1));
    more.Put(people_, Person(8), Json(R"({"name":"n8","city":99,"badge":"b"})"));
    more.Stage(relation_, Team(0), Person(7), 1000);
    more.Link(relation_, Team(2), Person(2), -2);
    MustCommit(*engine, std::move(more));
    EXPECT_TRUE(engine->Shutdown().Balanced());
  }

  static std::string Person(int i) { return absl::StrCat("p", i); }
  static std::string Team(int i) { return absl::StrCat("t", i); }
  static std::string Entry(const storage::IndexDefinition& index, const storage::IndexValue& value,
                           std::string_view id, std::string_view owner = "") {
    storage::IndexKey key;
    storage::SetIndexKey(value, &key);
    std::string entry;
    storage::AppendIndexEntry(
        {.index = index.id, .generation = 1, .owner = owner, .value = key.entry(), .id = id},
        &entry);
    return entry;
  }
  // Without the tree's byte.
  std::string MemberRow(std::string_view owner, std::string_view member) const {
    return storage::MemberRowKey({.relation = relation_.id, .owner = owner, .member = member})
        .substr(1);
  }
  std::string OwnerRow(std::string_view owner, std::string_view member, double score) const {
    return storage::OwnerRowKey({.relation = relation_.id, .owner = owner, .member = member},
                                storage::MemberOrder::kScore, {.score = score})
        .substr(1);
  }

  storage::Collection people_;
  storage::Collection teams_;
  storage::Relation relation_;
  storage::IndexDefinition name_;
  storage::IndexDefinition city_;
  storage::IndexDefinition badge_;
};

}  // namespace millrace::testing
