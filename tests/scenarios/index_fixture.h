#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/engine.h"

namespace millrace::testing {

using Ids = std::vector<std::string>;

inline std::string Text(const std::string& text) {
  return text;
}

inline Ids Found(const storage::Snapshot& snapshot, const storage::IndexDefinition& index,
                 const storage::IndexQuery& query, storage::FoundPage* page = nullptr) {
  Ids ids;
  const absl::StatusOr<storage::FoundPage> found =
      snapshot.Find(index, query, [&ids](const storage::RecordRef& record) {
        ids.emplace_back(record.id);
        return true;
      });
  EXPECT_TRUE(found.ok()) << found.status();
  if (found.ok() && page != nullptr) *page = *found;
  return ids;
}

inline Ids Members(const storage::Snapshot& snapshot, const storage::Relation& relation,
                   const std::string& owner, const storage::LinkQuery& query = {}) {
  Ids ids;
  const auto page = snapshot.Members(relation, owner, query, [&ids](const storage::LinkRef& link) {
    ids.emplace_back(link.member);
    return true;
  });
  EXPECT_TRUE(page.ok()) << page.status();
  return ids;
}

inline Ids Owners(const storage::Snapshot& snapshot, const storage::Relation& relation,
                  const std::string& member) {
  Ids ids;
  const auto page = snapshot.Owners(relation, member, {}, [&ids](const storage::LinkRef& link) {
    ids.emplace_back(link.owner);
    return true;
  });
  EXPECT_TRUE(page.ok()) << page.status();
  return ids;
}

// A store with people, who may be members of teams. Thread-compatible.
class IndexTest : public ::testing::Test {
 protected:
  void Open(const EngineOptions& options = QuietEngine()) {
    engine_.reset();
    engine_ = OpenEngine(directory_.path(), options);
    ASSERT_NE(engine_, nullptr);
    people_ = MakeCollection(*engine_, "people");
    teams_ = MakeCollection(*engine_, "teams");
  }
  storage::IndexDefinition Create(const storage::IndexOptions& options) {
    const absl::StatusOr<IndexDefined> defined = engine_->CreateIndex(people_, options);
    EXPECT_TRUE(defined.ok()) << defined.status();
    return defined.ok() ? defined->definition : storage::IndexDefinition();
  }
  storage::Relation Define(const std::string& name,
                           storage::MemberOrder order = storage::MemberOrder::kId,
                           uint64_t member_max = 0) {
    const absl::StatusOr<storage::Relation> relation =
        engine_->DefineRelation({.name = name,
                                 .owners = teams_,
                                 .members = people_,
                                 .order = order,
                                 .member_max = member_max});
    EXPECT_TRUE(relation.ok()) << relation.status();
    return relation.ok() ? *relation : storage::Relation();
  }
  void Put(const std::string& id, const std::string& json) {
    MustCommit(*engine_, storage::WriteBatch().Put(people_, id, Json(json)));
  }
  absl::Status Try(storage::WriteBatch batch) {
    return engine_->Commit(std::move(batch)).Wait().status();
  }
  storage::Snapshot Take() { return *engine_->TakeSnapshot("test"); }

  TemporaryDirectory directory_;
  std::unique_ptr<Engine> engine_;
  storage::Collection people_;
  storage::Collection teams_;
};

}  // namespace millrace::testing
