#include "millrace/tools/import_progress.h"

#include <sstream>
#include <string>

#include "gtest/gtest.h"

namespace millrace {
namespace {

class SteppedClock final : public Clock {
 public:
  MonotonicTime Now() const override { return now_; }
  absl::Time WallNow() const override { return absl::UnixEpoch(); }
  void Advance(absl::Duration duration) { now_ = now_ + duration; }

 private:
  MonotonicTime now_;
};

TEST(ImportProgressTest, ATerminalGetsABarDrawnOverItself) {
  SteppedClock clock;
  std::ostringstream out;
  ImportProgress progress(clock, out, {.is_terminal = true, .bytes_total = 1000});
  progress.Update(10, 1);
  EXPECT_EQ(out.str(), "");
  clock.Advance(absl::Milliseconds(100));
  progress.Update(500, 2000);
  progress.Update(510, 2001);
  EXPECT_EQ(out.str(), "\r[===============               ]  50 %  2,000 records, 20,000/s\x1b[K");
  out.str("");
  progress.Note("line 7: bad");
  EXPECT_EQ(out.str(), "\r\x1b[Kline 7: bad\n");
  out.str("");
  clock.Advance(absl::Milliseconds(900));
  progress.Finish(12'345, 3);
  EXPECT_EQ(out.str(), "imported 12,345 records in 1.00 s (12,345/s), skipped 3\n");
}

TEST(ImportProgressTest, OthersGetPlainLines) {
  SteppedClock clock;
  std::ostringstream out;
  ImportProgress progress(clock, out, {.bytes_total = 1000});
  clock.Advance(absl::Seconds(4));
  progress.Update(100, 10);
  clock.Advance(absl::Seconds(1));
  progress.Update(250, 1'000'000);
  progress.Update(250, 1'000'001);
  progress.Note("line 7: bad");
  progress.Finish(1'000'002, 0);
  EXPECT_EQ(out.str(),
            " 25 %  1,000,000 records, 200,000/s\n"
            "line 7: bad\n"
            "imported 1,000,002 records in 5.00 s (200,000/s)\n");
}

TEST(ImportProgressTest, APipeHasNoPercentage) {
  SteppedClock clock;
  std::ostringstream out;
  ImportProgress progress(clock, out, {.is_terminal = true});
  clock.Advance(absl::Seconds(1));
  progress.Update(250, 999);
  EXPECT_EQ(out.str(), "\r999 records, 999/s\x1b[K");
}

TEST(ImportProgressTest, NoTimeGivesNoRate) {
  SteppedClock clock;
  std::ostringstream out;
  ImportProgress(clock, out, {}).Finish(5, 0);
  EXPECT_EQ(out.str(), "imported 5 records in 0.00 s (0/s)\n");
}

}  // namespace
}  // namespace millrace
