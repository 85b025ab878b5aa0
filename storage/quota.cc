#include "millrace/storage/quota.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace millrace::storage {
namespace {

constexpr double kGrowthInitial = 2.0;
constexpr double kGrowthMin = 1.0;
constexpr double kGrowthMax = 16.0;
constexpr uint64_t kMeasurableFlushBytes = 1 << 20;

// OK if what is used, and what unflushed rows will become, stays within the limit.
absl::Status Admit(const Quota& quota, const char* what, uint64_t used_bytes,
                   uint64_t unflushed_bytes, uint64_t limit_bytes) {
  const double growth = quota.growth();
  const double wanted =
      static_cast<double>(used_bytes) + growth * static_cast<double>(unflushed_bytes);
  if (wanted <= static_cast<double>(limit_bytes)) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      what, " refused: the store uses ", used_bytes, " bytes and ", unflushed_bytes,
      " unflushed bytes will take about ", growth, " times as much, the limit is ", limit_bytes,
      " of a quota of ", quota.quota_bytes(), " bytes; delete data or raise the quota"));
}

}  // namespace

Quota::Quota(uint64_t quota_bytes, uint64_t l0_hard_bytes)
    : quota_bytes_(quota_bytes),
      l0_hard_bytes_(std::min(l0_hard_bytes, quota_bytes / 32)),
      reserve_bytes_(std::max(quota_bytes / 20, 4 * l0_hard_bytes_)),
      growth_(kGrowthInitial) {
}

void Quota::RecordFlush(uint64_t l0_bytes, int64_t grown_bytes) {
  if (l0_bytes < kMeasurableFlushBytes) return;
  const double measured = std::clamp(
      static_cast<double>(grown_bytes) / static_cast<double>(l0_bytes), kGrowthMin, kGrowthMax);
  const double known = growth();
  growth_.store(measured > known ? measured : known * 0.75 + measured * 0.25,
                std::memory_order_relaxed);
}

absl::Status Quota::AdmitPut(uint64_t used_bytes, uint64_t unflushed_bytes) const {
  return Admit(*this, "put", used_bytes, unflushed_bytes, quota_bytes_ - reserve_bytes_);
}

absl::Status Quota::AdmitDelete(uint64_t used_bytes, uint64_t unflushed_bytes) const {
  return Admit(*this, "delete", used_bytes, unflushed_bytes, quota_bytes_);
}

absl::Status Quota::AdmitCommit(uint64_t used_before, uint64_t used_after, bool reclaiming) const {
  const uint64_t limit = reclaiming ? quota_bytes_ + quota_bytes_ / 8 : quota_bytes_;
  if (used_after <= limit || used_after <= used_before) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("commit refused: the store uses ", used_before, " bytes and would use ",
                   used_after, ", past the limit of ", limit, " of a quota of ", quota_bytes_,
                   " bytes; delete data or raise the quota"));
}

}  // namespace millrace::storage
