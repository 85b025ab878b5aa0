// Work of several senders in one transaction: durable for all, gone for all, and who is to blame.

#include "millrace/actors/shared_transaction.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/temporary_directory.h"

namespace millrace {
namespace {

using storage::TreeId;

constexpr uint64_t kQuotaBytes = uint64_t{16} << 20;

// Counts what it is told.
class CountingApplier final : public Applier {
 public:
  void Committed() override { ++committed; }
  void Aborted() override { ++aborted; }
  int committed = 0;
  int aborted = 0;
};

class SharedTransactionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    storage::EnvironmentOptions options;
    options.directory = directory_.path();
    options.map_size_bytes = uint64_t{1} << 30;
    options.quota_bytes = kQuotaBytes;
    auto opened = storage::Environment::Open(options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    environment_ = *std::move(opened);
    transaction_ =
        std::make_unique<SharedTransaction>(*environment_, *environment_->TakeWritePermit());
    transaction_->Add(applier_);
  }

  // Work of one sender, a row of so many bytes, committed first if it may not join.
  void Work(char sender, size_t bytes) {
    const void* const name = &names_[sender];
    if (!transaction_->Admits(name)) transaction_->Commit().IgnoreError();
    const auto transaction = transaction_->Begin();
    ASSERT_TRUE(transaction.ok()) << transaction.status();
    const std::string key(1, sender);
    ASSERT_TRUE((*transaction)->Put(TreeId::kRecords, key, std::string(bytes, 'x')).ok());
    transaction_->Wait(name, [this, sender](const absl::Status& status) {
      absl::StrAppend(&transcript_, std::string(1, sender),
                      status.ok()               ? "+"
                      : absl::IsAborted(status) ? "?"
                                                : "-",
                      " ");
    });
  }
  void Commit() {
    transaction_->Commit().IgnoreError();
    absl::StrAppend(&transcript_, "| ");
  }
  std::string Transcript() {
    for (auto& decided : transaction_->decided()) decided.answer(decided.status);
    transaction_->decided().clear();
    return std::exchange(transcript_, "");
  }
  bool Holds(char sender) {
    const auto transaction = environment_->BeginRead();
    return transaction->Get(TreeId::kRecords, std::string(1, sender))->has_value();
  }

  static constexpr size_t kSmall = 100;
  static constexpr size_t kTooMuch = 2 * kQuotaBytes;

  testing::TemporaryDirectory directory_;
  std::unique_ptr<storage::Environment> environment_;
  CountingApplier applier_;
  std::unique_ptr<SharedTransaction> transaction_;
  std::map<char, int> names_;
  std::string transcript_;
};

TEST_F(SharedTransactionTest, IsOneForAll) {
  Work('a', kSmall);
  Work('b', kSmall);
  Work('a', kSmall);
  EXPECT_EQ(Transcript(), "");
  Commit();
  EXPECT_EQ(Transcript(), "| a+ b+ a+ ");
  EXPECT_EQ(applier_.committed, 1);
  EXPECT_TRUE(Holds('a'));
  EXPECT_TRUE(Holds('b'));
}

TEST_F(SharedTransactionTest, AbortOfOneTellsEverybodyInIt) {
  Work('a', kSmall);
  Work('b', kSmall);
  transaction_->Abort(absl::InternalError("as told"));
  EXPECT_EQ(Transcript(), "a? b? ");
  EXPECT_EQ(applier_.aborted, 1);
  EXPECT_FALSE(Holds('a'));
  EXPECT_FALSE(transaction_->separating()) << "it is known who is to blame";
  Work('b', kSmall);
  Commit();
  EXPECT_EQ(Transcript(), "| b+ ");
}

// c makes the store larger than its quota, and only the commit finds out.
TEST_F(SharedTransactionTest, CulpritOfACommitThatFailedIsFoundBySeparation) {
  const auto all = [this] {
    Work('a', kSmall);
    Work('b', kSmall);
    Work('c', kTooMuch);
    Work('d', kSmall);
  };
  all();
  Commit();
  EXPECT_EQ(Transcript(), "| a? b? c? d? ");
  EXPECT_TRUE(transaction_->separating());
  all();
  EXPECT_EQ(Transcript(), "a+ b+ c- ");
  EXPECT_FALSE(transaction_->separating()) << "c failed alone";
  Work('e', kSmall);
  Commit();
  EXPECT_EQ(Transcript(), "| d+ e+ ");
  EXPECT_FALSE(Holds('c'));
  for (const char sender : {'a', 'b', 'd', 'e'}) EXPECT_TRUE(Holds(sender)) << sender;
}

TEST_F(SharedTransactionTest, SeparationEndsWhenEverySuspectHasPassed) {
  Work('a', kSmall);
  Work('c', kTooMuch);
  Commit();
  EXPECT_EQ(Transcript(), "| a? c? ");
  Work('a', kSmall);
  Work('c', kSmall);  // It has learned.
  Commit();
  EXPECT_EQ(Transcript(), "| a+ c+ ");
  EXPECT_FALSE(transaction_->separating());
}

TEST_F(SharedTransactionTest, WhoFailsAloneHearsTheCause) {
  Work('c', kTooMuch);
  Commit();
  EXPECT_EQ(Transcript(), "| c- ");
  EXPECT_FALSE(transaction_->separating());
}

}  // namespace
}  // namespace millrace
