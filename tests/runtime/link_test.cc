#include "millrace/runtime/link.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

#include "millrace/runtime/runtime.h"

namespace millrace {
namespace {

struct Applied {
  int value = 0;
};
struct Apply {
  using ReplyType = Applied;
  int value = 0;
};
struct Go {
  int count = 0;
};

// Doubles numbers. Owned by its thread.
class Doubler final : public Actor<Doubler, Apply> {
 public:
  explicit Doubler(const ActorOptions& options) : Actor(options) {}

 private:
  friend Actor;
  void Handle(Apply apply, Reply<Applied> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_) {
    reply.Send(Applied{2 * apply.value});
  }
};

// Asks for `count` doublings with the credits it has. Owned by its thread.
class Asker final : public Actor<Asker, Go, Answer<Applied>> {
 public:
  Asker(const ActorOptions& options, Doubler& doubler) : Actor(options), link_(doubler, 4, this) {}
  absl::Notification done;
  std::vector<std::pair<uint64_t, int>> answers;

 private:
  friend Actor;
  void Handle(Go go) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_) {
    left_ = go.count;
    Continue();
  }
  void Handle(Answer<Applied> answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_) {
    answers.emplace_back(answer.request, answer.result->value);
    Continue();
    if (left_ == 0 && link_.available() == 4) done.Notify();
  }
  void Continue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_) {
    for (; left_ > 0 && link_.available() > 0; --left_) {
      link_.Ask(Apply{left_}, ReplyTo<Applied>(next_++));
    }
  }
  Link<Doubler> link_;
  int left_ ABSL_GUARDED_BY(owner_) = 0;
  uint64_t next_ ABSL_GUARDED_BY(owner_) = 0;
};

TEST(LinkTest, CreditsAreNeverRefusedAndComeBackWithTheAnswer) {
  // The data bound of one is no matter: credits are slots beside it.
  Doubler doubler({.name = "doubler", .mailbox = {.data_count_max = 1}});
  Asker asker({.name = "asker"}, doubler);
  Runtime runtime({});
  runtime.Add(doubler);
  runtime.Add(asker);
  ASSERT_TRUE(runtime.Start().ok());
  ASSERT_TRUE(asker.Tell(Go{1000}).ok());
  ASSERT_TRUE(asker.done.WaitForNotificationWithTimeout(absl::Seconds(60)));
  const ShutdownReport report = runtime.Shutdown();
  EXPECT_TRUE(report.Balanced()) << report.ToString();
  ASSERT_EQ(asker.answers.size(), 1000u);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(asker.answers[i], std::make_pair(uint64_t(i), 2 * (1000 - i)));
  }
}

}  // namespace
}  // namespace millrace
