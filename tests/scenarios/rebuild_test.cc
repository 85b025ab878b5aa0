// Index builds on real threads: beside readers and writers, and again and again.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/engine.h"

namespace millrace::testing {
namespace {

using storage::BuildResult;
using storage::Collection;
using storage::IndexDefinition;
using storage::TaskState;

class RebuildTest : public ::testing::Test {
 protected:
  TemporaryDirectory directory_;
};

TEST_F(RebuildTest, IndexOverRecordsThatAreThereIsBuilt) {
  std::unique_ptr<Engine> engine = OpenEngine(directory_.path(), SmallEngine());
  const Collection people = MakeCollection(*engine, "people");
  for (int i = 0; i < 1'000; ++i) {
    MustCommit(*engine, PutNumber(people, absl::StrCat("p", i), i % 100),
               {.durability = Durability::kNone});
  }
  const absl::StatusOr<IndexDefined> defined = engine->CreateIndex(people, {.field = "n"});
  ASSERT_TRUE(defined.ok()) << defined.status();
  EXPECT_FALSE(defined->complete);
  ASSERT_NE(defined->build, 0u);
  const absl::StatusOr<BuildResult> result =
      engine->WaitForBuild(defined->build, absl::Seconds(30));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->indexed, 1'000u);
  const storage::Snapshot snapshot = *engine->TakeSnapshot();
  EXPECT_EQ(*snapshot.CountFound(defined->definition, storage::IndexQuery{}), 1'000u);
  const absl::StatusOr<IndexStatus> status = engine->GetIndexStatus(defined->definition);
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(status->lifecycle, IndexLifecycle::kOnline);
}

}  // namespace
}  // namespace millrace::testing
