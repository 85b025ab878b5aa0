#include "millrace/storage/lease_registry.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

// Both Lease and LeaseRegistry: the state they share is seen nowhere else.
//
// The word of a lease counts the calls in progress and carries a bit that says it was ended. A call
// enters by adding one and looks at the bit it found; if it is set, it leaves again without having
// touched anything. Whoever ends the lease sets the bit, and frees the holdings if it found no
// call; else the call that leaves last finds the bit and frees them. Freeing moves the holdings out
// under the registry's mutex, so it happens once, and destroys them outside of it.

namespace millrace::storage {

struct Lease::State {
  static constexpr uint32_t kEnded = uint32_t{1} << 31;

  // All changes are acq_rel or stronger: a call sees the holdings whole, and whoever frees them
  // comes after all that calls did with them.
  std::atomic<uint32_t> word{0};
  std::atomic<LeaseEnd> reason{LeaseEnd::kNone};  // Set before kEnded is.
  // Constant while registered.
  LeaseRegistry* registry = nullptr;
  uint64_t id = 0;
  std::string owner;
  absl::Time taken_at;
  // Guarded by the registry's mutex.
  std::unique_ptr<LeaseHoldings> holdings;
  bool reported = false;
  State* older = nullptr;
  State* newer = nullptr;
};

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this == &other) return *this;
  Lease former(std::exchange(state_, std::exchange(other.state_, nullptr)));
  return *this;
}

Lease::~Lease() {
  if (state_ != nullptr) state_->registry->Forget(state_);
}

bool Lease::ended() const {
  // Acquire pairs with the fetch_or of LeaseRegistry::End(): the reason is there.
  return (state_->word.load(std::memory_order_acquire) & State::kEnded) != 0;
}

absl::Status Lease::EndedStatus() const {
  const std::string name = absl::StrCat("snapshot ", state_->id, " of ", state_->owner, " ended: ");
  switch (state_->reason.load()) {
    case LeaseEnd::kTooOld:
      return absl::AbortedError(absl::StrCat(
          name, "it was held longer than snapshots may be (",
          absl::FormatDuration(state_->registry->options_.hard_age), "); take a new one"));
    case LeaseEnd::kNoSpace:
      return absl::AbortedError(
          absl::StrCat(name, "commits waited for the memory it retained; take a new one"));
    case LeaseEnd::kStopped:
      return absl::CancelledError(absl::StrCat(name, "the store is closing"));
    case LeaseEnd::kNone:
      break;
  }
  return absl::InternalError(absl::StrCat(name, "it has not"));
}

LeaseCall::LeaseCall(const Lease& lease) : lease_(lease), entered_(true) {
  const uint32_t found = lease.state_->word.fetch_add(1, std::memory_order_acq_rel);
  if ((found & Lease::State::kEnded) == 0) return;
  entered_ = false;
  if (lease.state_->word.fetch_sub(1, std::memory_order_acq_rel) == (Lease::State::kEnded | 1)) {
    lease.state_->registry->FreeAfterCall(*lease.state_);
  }
}

LeaseCall::~LeaseCall() {
  if (!entered_) return;
  Lease::State& state = *lease_.state_;
  if (state.word.fetch_sub(1, std::memory_order_acq_rel) == (Lease::State::kEnded | 1)) {
    state.registry->FreeAfterCall(state);
  }
}

absl::Status LeaseCall::status() const {
  return entered_ ? absl::OkStatus() : lease_.EndedStatus();
}

class LeaseRegistry::Freed {
 public:
  explicit Freed(LeaseRegistry& registry) : registry_(registry) {}
  ~Freed() {
    const size_t count = holdings_.size();
    holdings_.clear();
    if (count > 0) registry_.Destroyed(count);
  }
  void Add(std::unique_ptr<LeaseHoldings> holdings) {
    if (holdings != nullptr) holdings_.push_back(std::move(holdings));
  }

 private:
  LeaseRegistry& registry_;
  std::vector<std::unique_ptr<LeaseHoldings>> holdings_;
};

LeaseRegistry::~LeaseRegistry() {
  absl::MutexLock lock(&mutex_);
  CHECK(oldest_ == nullptr) << "snapshot " << oldest_->id << " of " << oldest_->owner
                            << " outlives its store";
}

absl::StatusOr<Lease> LeaseRegistry::Take(std::string owner,
                                          std::unique_ptr<LeaseHoldings> holdings, absl::Time now) {
  auto state = std::make_unique<Lease::State>();
  state->registry = this;
  state->owner = std::move(owner);
  state->taken_at = now;
  state->holdings = std::move(holdings);
  absl::MutexLock lock(&mutex_);
  if (closed_) return absl::CancelledError("taking a snapshot: the store is closing");
  state->id = ++last_id_;
  ++held_count_;
  state->older = newest_;
  (newest_ == nullptr ? oldest_ : newest_->newer) = state.get();
  newest_ = state.get();
  return Lease(state.release());
}

std::vector<LeaseInfo> LeaseRegistry::List(absl::Time now) const {
  std::vector<LeaseInfo> infos;
  absl::MutexLock lock(&mutex_);
  for (const Lease::State* state = oldest_; state != nullptr; state = state->newer) {
    if (state->reason.load() == LeaseEnd::kNone) infos.push_back(Describe(*state, now));
  }
  return infos;
}

LeaseRegistry::AgeReport LeaseRegistry::EndOverAge(absl::Time now) {
  AgeReport report;
  Freed freed(*this);
  absl::MutexLock lock(&mutex_);
  for (Lease::State* state = oldest_; state != nullptr; state = state->newer) {
    if (state->reason.load() != LeaseEnd::kNone) continue;
    const absl::Duration age = now - state->taken_at;
    if (age > options_.hard_age) {
      report.ended.push_back(Describe(*state, now));
      End(*state, LeaseEnd::kTooOld, freed);
    } else if (age > options_.soft_age && !std::exchange(state->reported, true)) {
      report.overdue.push_back(Describe(*state, now));
    }
  }
  return report;
}

std::vector<LeaseInfo> LeaseRegistry::EndOldest(uint64_t wanted_bytes, absl::Time now) {
  std::vector<LeaseInfo> ended;
  uint64_t ended_bytes = 0;
  Freed freed(*this);
  absl::MutexLock lock(&mutex_);
  for (Lease::State* state = oldest_; state != nullptr && ended_bytes < wanted_bytes;
       state = state->newer) {
    if (state->reason.load() != LeaseEnd::kNone) continue;
    LeaseInfo info = Describe(*state, now);
    if (info.retained_bytes == 0) continue;
    ended_bytes += info.retained_bytes;
    ended.push_back(std::move(info));
    End(*state, LeaseEnd::kNoSpace, freed);
  }
  return ended;
}

void LeaseRegistry::Close() {
  {
    Freed freed(*this);
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    for (Lease::State* state = oldest_; state != nullptr; state = state->newer) {
      if (state->reason.load() == LeaseEnd::kNone) End(*state, LeaseEnd::kStopped, freed);
    }
  }
  absl::MutexLock lock(&mutex_);
  while (held_count_ > 0) all_freed_.Wait(&mutex_);
}

void LeaseRegistry::Destroyed(size_t count) {
  absl::MutexLock lock(&mutex_);
  held_count_ -= count;
  all_freed_.SignalAll();
}

LeaseInfo LeaseRegistry::Describe(const Lease::State& state, absl::Time now) const {
  return {.id = state.id,
          .owner = state.owner,
          .age = now - state.taken_at,
          .retained_bytes = state.holdings == nullptr ? 0 : state.holdings->RetainedBytes()};
}

void LeaseRegistry::End(Lease::State& state, LeaseEnd reason, Freed& freed) {
  state.reason.store(reason);
  const uint32_t found = state.word.fetch_or(Lease::State::kEnded, std::memory_order_acq_rel);
  if (found == 0) freed.Add(std::move(state.holdings));
}

void LeaseRegistry::FreeAfterCall(Lease::State& state) {
  Freed freed(*this);
  absl::MutexLock lock(&mutex_);
  // A call that only looked may be in between; then it comes here after us.
  if (state.word.load(std::memory_order_acquire) == Lease::State::kEnded) {
    freed.Add(std::move(state.holdings));
  }
}

void LeaseRegistry::Forget(Lease::State* state) {
  const std::unique_ptr<Lease::State> owned(state);
  Freed freed(*this);
  absl::MutexLock lock(&mutex_);
  CHECK_EQ(state->word.load() & ~Lease::State::kEnded, 0u)
      << "snapshot " << state->id << " of " << state->owner << " ends during a call";
  freed.Add(std::move(state->holdings));
  (state->older == nullptr ? oldest_ : state->older->newer) = state->newer;
  (state->newer == nullptr ? newest_ : state->newer->older) = state->older;
}

}  // namespace millrace::storage
