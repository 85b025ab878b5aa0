#include "millrace/actors/options.h"

#include "absl/strings/str_cat.h"

namespace millrace {
namespace {

absl::Status Refuse(const char* name, const char* range) {
  return absl::InvalidArgumentError(absl::StrCat("option ", name, " must be ", range));
}

}  // namespace

absl::Status CheckOptions(const EngineOptions& options) {
  if (options.sync_interval <= absl::ZeroDuration()) return Refuse("sync_interval", "above 0");
  if (options.rotate_bytes != 0 && options.rotate_bytes < 4096) {
    return Refuse("rotate_bytes", "at least 4096 (0 switches it off)");
  }
  if (options.rotate_interval <= absl::ZeroDuration()) {
    return Refuse("rotate_interval", "above 0 (infinite switches it off)");
  }
  if (options.rotate_interval_rows_min < 1) {
    return Refuse("rotate_interval_rows_min", "at least 1");
  }
  if (options.pending_flushes_max < 1 || options.pending_flushes_max > 16) {
    return Refuse("pending_flushes_max", "1 to 16");
  }
  if (options.stream_timeout <= absl::ZeroDuration()) return Refuse("stream_timeout", "above 0");
  if (options.l0_soft_bytes_max < options.rotate_bytes) {
    return Refuse("l0_soft_bytes_max", "at least rotate_bytes");
  }
  if (options.l0_hard_bytes_max <= options.l0_soft_bytes_max) {
    return Refuse("l0_hard_bytes_max", "above l0_soft_bytes_max");
  }
  if (options.snapshot_soft_age <= absl::ZeroDuration()) {
    return Refuse("snapshot_soft_age", "above 0");
  }
  if (options.snapshot_hard_age < options.snapshot_soft_age) {
    return Refuse("snapshot_hard_age", "at least snapshot_soft_age");
  }
  if (options.log_file_bytes < (uint64_t{1} << 20)) {
    return Refuse("log_file_bytes", "at least 1 MiB (64 MiB hold the largest batch)");
  }
  if (!(options.rebuild_growth_ratio >= 0)) {
    return Refuse("rebuild_growth_ratio", "at least 0 (0 switches it off)");
  }
  if (options.rebuild_age_max <= absl::ZeroDuration()) {
    return Refuse("rebuild_age_max", "above 0 (infinite switches it off)");
  }
  if (options.rebuild_retry_delay <= absl::ZeroDuration()) {
    return Refuse("rebuild_retry_delay", "above 0");
  }
  if (options.rebuild_cool_down < absl::ZeroDuration()) {
    return Refuse("rebuild_cool_down", "at least 0");
  }
  if (options.rebuild_memory_bytes < (uint64_t{1} << 20)) {
    return Refuse("rebuild_memory_bytes", "at least 1 MiB");
  }
  if (options.commit_timeout <= absl::ZeroDuration()) return Refuse("commit_timeout", "above 0");
  if (options.shutdown_timeout <= absl::ZeroDuration())
    return Refuse("shutdown_timeout", "above 0");
  return absl::OkStatus();
}

}  // namespace millrace
