// Samples of what a lookup finds.
//
// Each place gets a random number, and those with the smallest are drawn: so every set of places is
// as likely as any other. An entry may be stale, though, which only its record tells. To read no
// more records than are wanted, a few places more are drawn than needed and judged in the order of
// their numbers: without the stale ones, these still are the smallest. Should there be too many
// stale ones among them, all places are judged.

#include <algorithm>
#include <optional>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "millrace/storage/lookup.h"
#include "millrace/storage/lookup_judge.h"

namespace millrace::storage {
namespace {

// Draws places. Owned by one thread.
class Draw {
 public:
  Draw(uint64_t count, absl::FunctionRef<uint64_t()> random) : count_(count), random_(random) {}

  void Offer(std::string_view place) {
    const uint64_t number = random_();
    if (kept_.size() >= count_) {
      left_any_ = true;
      if (count_ == 0 || number >= kept_.top().first) return;
      kept_.pop();
    }
    kept_.emplace(number, std::string(place));
  }
  // Some place was not kept.
  bool left_any() const { return left_any_; }
  // In the order of their numbers. Called once.
  std::vector<std::string> Take() {
    std::vector<std::string> places(kept_.size());
    for (size_t i = places.size(); i > 0; kept_.pop()) places[--i] = kept_.top().second;
    return places;
  }

 private:
  const uint64_t count_;
  const absl::FunctionRef<uint64_t()> random_;
  std::priority_queue<std::pair<uint64_t, std::string>> kept_;  // The largest number first.
  bool left_any_ = false;
};

// How many are drawn to have `count` that are not stale.
uint64_t WithSpare(uint64_t count) {
  const uint64_t spare = count / 8 + 16;
  return count > ~uint64_t{0} - spare ? count : count + spare;
}

}  // namespace

absl::Status Lookup::Sample(const IndexDefinition& index, const SampleQuery& sample,
                            absl::FunctionRef<void(const Found&)> visit) const {
  const absl::StatusOr<Target> target = TargetOf(index, sample.query.owner, sample.query.may_scan);
  if (!target.ok()) return target.status();
  IndexQuery query = sample.query;
  query.after.clear();
  query.reverse = false;
  const absl::StatusOr<Range> range = RangeOf(query);
  if (!range.ok()) return range.status();
  const Asked asked{.target = *target, .query = query, .range = *range};
  const absl::StatusOr<std::vector<std::string>> places =
      target->generations.Serves() ? DrawEntries(asked, sample) : DrawRecords(asked, sample);
  if (!places.ok()) return places.status();
  for (const std::string& place : *places) {
    std::string_view id = place;
    SkipIndexValue(&id);
    const absl::StatusOr<std::optional<Found>> found = FindRecord(target->index, id);
    if (!found.ok()) return found.status();
    if (found->has_value()) visit(**found);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Lookup::DrawRecords(const Asked& asked,
                                                             const SampleQuery& sample) const {
  Draw draw(sample.count, sample.random);
  const absl::Status status = Collect(asked, [&draw](std::string place) { draw.Offer(place); });
  if (!status.ok()) return status;
  return draw.Take();
}

absl::StatusOr<std::vector<std::string>> Lookup::DrawEntries(const Asked& asked,
                                                             const SampleQuery& sample) const {
  Draw draw(WithSpare(sample.count), sample.random);
  absl::Status status =
      ForEachPlace(asked, [&draw](std::string_view place) -> absl::StatusOr<bool> {
        draw.Offer(place);
        return true;
      });
  if (!status.ok()) return status;
  Judge judge(*this, asked);
  std::vector<std::string> good;
  for (std::string& place : draw.Take()) {
    if (good.size() == sample.count) break;
    const absl::StatusOr<std::optional<Found>> found = judge.Find(place);
    if (!found.ok()) return found.status();
    if (found->has_value()) good.push_back(std::move(place));
  }
  if (good.size() == sample.count || !draw.left_any()) return good;
  Draw judged(sample.count, sample.random);
  status = ForEachPlace(asked, [&](std::string_view place) -> absl::StatusOr<bool> {
    const absl::StatusOr<std::optional<Found>> found = judge.Find(place);
    if (!found.ok()) return found.status();
    if (found->has_value()) judged.Offer(place);
    return true;
  });
  if (!status.ok()) return status;
  return judged.Take();
}

}  // namespace millrace::storage
