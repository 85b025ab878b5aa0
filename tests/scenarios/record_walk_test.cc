// Walks over collections and indexes, against what is in the store.

#include "millrace/actors/record_walk.h"

#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/index_fixture.h"
#include "tests/scenarios/test_engine.h"

namespace millrace::testing {
namespace {

using storage::IndexDefinition;
using storage::Record;
using storage::WriteBatch;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RecordWalkTest : public IndexTest {
 protected:
  // p0 to p9, each with {"n": its number}.
  void SetUp() override {
    Open();
    n_ = Create({.field = "n"});
    WriteBatch batch;
    for (int i = 0; i < 10; ++i) batch.Put(people_, absl::StrCat("p", i), Number(i));
    MustCommit(*engine_, std::move(batch));
  }

  IndexDefinition n_;
};

// X19: batches of any size give the same, and who is gone by then is not met.
TEST_F(RecordWalkTest, RecordsComeInBatchesWithoutGhosts) {
  MustFlush(*engine_);
  MustCommit(*engine_, WriteBatch().Delete(people_, "p3").Put(people_, "p5", Number(50)));
  for (const size_t batch_size : {1, 2, 3, 8, 9, 100}) {
    Ids by_id;
    Ids by_value;
    const auto into = [](Ids* ids) {
      return [ids](const Record& record) {
        ids->push_back(record.id);
        return Visited::kSame;
      };
    };
    const auto all = WalkRecords(*engine_, people_, {.batch_size = batch_size}, into(&by_id));
    ASSERT_TRUE(all.ok()) << all.status();
    EXPECT_EQ(all->scanned, 9u);
    EXPECT_THAT(by_id, ElementsAre("p0", "p1", "p2", "p4", "p5", "p6", "p7", "p8", "p9"));
    const auto found = WalkRecords(*engine_, {.index = n_, .query = {.from = int64_t{2}}},
                                   {.batch_size = batch_size}, into(&by_value));
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_THAT(by_value, ElementsAre("p2", "p4", "p6", "p7", "p8", "p9", "p5"));
  }
  // Deleted between two batches: the second does not meet it.
  Ids seen;
  const auto stats = WalkRecords(*engine_, people_, {.batch_size = 4}, [&](const Record& record) {
    if (seen.empty()) {
      MustCommit(*engine_, WriteBatch().Delete(people_, "p2").Delete(people_, "p9"));
    }
    seen.push_back(record.id);
    return Visited::kSame;
  });
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_THAT(seen, ElementsAre("p0", "p1", "p2", "p4", "p5", "p6", "p7", "p8"));
}

// X21: an error is about its record, and the limit about what is read.
TEST_F(RecordWalkTest, ChoresIsolateErrorsAndCount) {
  const auto chore = [&](const Record& record) -> absl::StatusOr<Visited> {
    if (record.id == "p1") return absl::NotFoundError("not this one");
    if (record.id == "p4") throw std::runtime_error("nor this");
    if (record.id == "p6") return Visited::kSame;
    MustCommit(*engine_, WriteBatch().Merge(people_, record.id, Json(R"({"done": true})")));
    return Visited::kChanged;
  };
  const auto some = WalkRecords(*engine_, people_, {.batch_size = 2, .limit = 7}, chore);
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ(some->scanned, 7u);
  EXPECT_EQ(some->modified, 4u);
  EXPECT_EQ(some->errors, 2u);
  EXPECT_EQ(some->first_error_id, "p1");
  EXPECT_EQ(some->first_error, absl::NotFoundError("not this one"));
  EXPECT_FALSE(Take().Get(people_, "p7")->document.Field("done").has_value());
  const auto none = WalkRecords(*engine_, people_, {.limit = 0}, chore);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ(none->scanned, 0u);
  int visits = 0;
  const auto stopped = WalkRecords(*engine_, people_, {.batch_size = 4}, [&](const Record&) {
    return ++visits < 6 ? Visited::kSame : Visited::kStop;
  });
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_EQ(stopped->scanned, 6u);
  EXPECT_EQ(WalkRecords(*engine_, people_, {.batch_size = 0}, chore).status().code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(engine_->Shutdown().Balanced());
  EXPECT_EQ(WalkRecords(*engine_, people_, {}, chore).status().code(),
            absl::StatusCode::kCancelled);
}

// A chore may change what it walks by: those that move backward are not met again.
TEST_F(RecordWalkTest, VisitorMayChangeTheValueThatIsWalked) {
  std::set<std::string> met;
  const auto stats =
      WalkRecords(*engine_, {.index = n_, .query = {.from = int64_t{0}}}, {.batch_size = 3},
                  [&](const Record& record) {
                    EXPECT_TRUE(met.insert(record.id).second) << record.id;
                    MustCommit(*engine_, WriteBatch().Put(people_, record.id, Number(-1)));
                    return Visited::kChanged;
                  });
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->modified, 10u);
  EXPECT_THAT(Found(Take(), n_, {.from = int64_t{0}}), IsEmpty());
  EXPECT_EQ(Found(Take(), n_, {.equal = int64_t{-1}}).size(), 10u);
}

}  // namespace
}  // namespace millrace::testing
