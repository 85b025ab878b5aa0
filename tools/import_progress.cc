#include "millrace/tools/import_progress.h"

#include <algorithm>
#include <cstdio>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace millrace {
namespace {

constexpr absl::Duration kBarInterval = absl::Milliseconds(100);
constexpr absl::Duration kLineInterval = absl::Seconds(5);
constexpr int kBarWidth = 30;

}  // namespace

ImportProgress::ImportProgress(const Clock& clock, std::ostream& out, const Options& options)
    : clock_(clock),
      out_(out),
      options_(options),
      started_(clock.Now()),
      next_write_(started_ + (options.is_terminal ? kBarInterval : kLineInterval)) {
}

void ImportProgress::Update(uint64_t bytes, uint64_t record_count) {
  const MonotonicTime now = clock_.Now();
  if (now < next_write_) return;
  next_write_ = now + (options_.is_terminal ? kBarInterval : kLineInterval);
  if (options_.is_terminal) {
    out_ << '\r' << Bar(bytes, record_count) << "\x1b[K" << std::flush;
    bar_drawn_ = true;
  } else {
    out_ << Bar(bytes, record_count) << std::endl;
  }
}

void ImportProgress::Note(std::string_view line) {
  ClearBar();
  out_ << line << std::endl;
}

void ImportProgress::Finish(uint64_t record_count, uint64_t skipped_count) {
  ClearBar();
  std::string line =
      absl::StrFormat("imported %s records in %.2f s (%s/s)", WithThousands(record_count),
                      absl::ToDoubleSeconds(clock_.Now() - started_),
                      WithThousands(static_cast<uint64_t>(RecordsPerSecond(record_count))));
  if (skipped_count > 0) absl::StrAppend(&line, ", skipped ", WithThousands(skipped_count));
  out_ << line << std::endl;
}

double ImportProgress::RecordsPerSecond(uint64_t record_count) const {
  const double seconds = absl::ToDoubleSeconds(clock_.Now() - started_);
  return seconds > 0 ? static_cast<double>(record_count) / seconds : 0;
}

std::string ImportProgress::Bar(uint64_t bytes, uint64_t record_count) const {
  std::string done =
      absl::StrFormat("%s records, %s/s", WithThousands(record_count),
                      WithThousands(static_cast<uint64_t>(RecordsPerSecond(record_count))));
  if (options_.bytes_total == 0) return done;
  const double part =
      std::min(1.0, static_cast<double>(bytes) / static_cast<double>(options_.bytes_total));
  const std::string percent = absl::StrFormat("%3.0f %%  ", 100 * part);
  if (!options_.is_terminal) return percent + done;
  const int filled = static_cast<int>(part * kBarWidth);
  return absl::StrCat("[", std::string(filled, '='), std::string(kBarWidth - filled, ' '), "] ",
                      percent, done);
}

void ImportProgress::ClearBar() {
  if (bar_drawn_) out_ << "\r\x1b[K";
  bar_drawn_ = false;
}

std::string WithThousands(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, ",");
  return text;
}

}  // namespace millrace
