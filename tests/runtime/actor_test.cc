#include "millrace/runtime/actor.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "millrace/runtime/link.h"
#include "millrace/runtime/runtime.h"

namespace millrace {
namespace {

struct Sum {
  int total = 0;
};
struct Add {
  int value = 0;
};
struct GetSum {
  using ReplyType = Sum;
};

// Adds up what it is told. Owned by its thread.
class Adder final : public Actor<Adder, Add, GetSum> {
 public:
  explicit Adder(const ActorOptions& options) : Actor(options) {}

 private:
  friend Actor;
  void Handle(Add add) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_) { sum_ += add.value; }
  void Handle(GetSum, Reply<Sum> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_) {
    reply.Send(Sum{sum_});
  }
  int sum_ ABSL_GUARDED_BY(owner_) = 0;
};

TEST(ActorTest, AnswersAfterWhatTheSameThreadToldItBefore) {
  Adder adder({.name = "adder"});
  Runtime runtime({});
  runtime.Add(adder);
  ASSERT_TRUE(runtime.Start().ok());
  for (int i = 1; i <= 100; ++i) ASSERT_TRUE(adder.Tell(Add{i}).ok());
  const absl::StatusOr<Sum> sum = adder.Ask(GetSum{}).Wait(absl::Seconds(30));
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(sum->total, 5050);
  const ShutdownReport report = runtime.Shutdown();
  EXPECT_TRUE(report.Balanced()) << report.ToString();
  EXPECT_EQ(report.Find("adder")->handled, 101u);
  EXPECT_EQ(adder.Tell(Add{1}).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(adder.Ask(GetSum{}).Wait().status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace millrace
