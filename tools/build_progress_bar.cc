#include "millrace/tools/build_progress_bar.h"

#include <algorithm>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "millrace/tools/import_progress.h"

namespace millrace {
namespace {

constexpr absl::Duration kBarInterval = absl::Milliseconds(100);
constexpr absl::Duration kLineInterval = absl::Seconds(5);
constexpr int kBarWidth = 30;

double PartOf(const BuildProgress& progress) {
  if (progress.total == 0) return 0;
  return std::min(1.0,
                  static_cast<double>(progress.completed) / static_cast<double>(progress.total));
}

}  // namespace

BuildProgressBar::BuildProgressBar(const Clock& clock, std::ostream& out, bool is_terminal)
    : clock_(clock),
      out_(out),
      is_terminal_(is_terminal),
      next_write_(clock.Now() + (is_terminal ? kBarInterval : kLineInterval)) {
}

void BuildProgressBar::Update(const BuildProgress& progress) {
  const MonotonicTime now = clock_.Now();
  if (now < next_write_) return;
  next_write_ = now + (is_terminal_ ? kBarInterval : kLineInterval);
  if (!is_terminal_) {
    out_ << Describe(progress) << std::endl;
    return;
  }
  const int filled = static_cast<int>(PartOf(progress) * kBarWidth);
  out_ << '\r'
       << absl::StrCat("[", std::string(filled, '='), std::string(kBarWidth - filled, ' '), "] ",
                       Describe(progress))
       << "\x1b[K" << std::flush;
  bar_drawn_ = true;
}

void BuildProgressBar::Finish(const storage::BuildResult& result) {
  Clear();
  std::string line =
      absl::StrFormat("built %s entries from %s rows in %.2f s", WithThousands(result.indexed),
                      WithThousands(result.scanned), absl::ToDoubleSeconds(result.duration));
  if (result.skipped_blank > 0) {
    absl::StrAppend(&line, ", ", WithThousands(result.skipped_blank), " blank");
  }
  if (result.conflicts > 0) {
    absl::StrAppend(&line, ", ", WithThousands(result.conflicts), " duplicates left out");
  }
  out_ << line << std::endl;
}

void BuildProgressBar::Clear() {
  if (bar_drawn_) out_ << "\r\x1b[K";
  bar_drawn_ = false;
}

std::string Describe(const BuildProgress& progress) {
  std::string text(storage::ToString(progress.phase));
  if (progress.total == 0) return text;
  absl::StrAppendFormat(&text, " %3.0f %%  %s of %s", 100 * PartOf(progress),
                        WithThousands(progress.completed), WithThousands(progress.total));
  if (progress.per_second >= 1) {
    absl::StrAppend(&text, ", ", WithThousands(static_cast<uint64_t>(progress.per_second)), "/s");
  }
  if (progress.eta != absl::InfiniteDuration()) {
    absl::StrAppendFormat(&text, ", %.0f s to go", absl::ToDoubleSeconds(progress.eta));
  }
  return text;
}

}  // namespace millrace
