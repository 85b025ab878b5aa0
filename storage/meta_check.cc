// What the rows of `manifests` and `meta` must be.

#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/outcome_rows.h"
#include "millrace/storage/tree_check.h"

namespace millrace::storage {
namespace {

class ManifestCheck final : public TreeCheck {
 public:
  explicit ManifestCheck(VerifyContext& context) : context_(context) {}

  void Visit(std::string_view key, std::string_view value) override {
    absl::StatusOr<Manifest> manifest = DecodeManifest(value);
    uint64_t id = 0;
    std::string_view rest = key;
    const bool numbered = ConsumeOrderedInteger(&rest, &id) && rest.empty() && id > 0;
    const std::string name =
        numbered ? absl::StrCat("manifest ", id)
                 : absl::StrCat("the manifest under key ", absl::BytesToHexString(ToAbsl(key)));
    if (!manifest.ok()) {
      context_.Damage(absl::StrCat(name, ": ", manifest.status().message()));
    } else if (!numbered || manifest->id != id || manifest->parent + 1 != id) {
      context_.Damage(absl::StrCat(name, ": it says it is manifest ", manifest->id, " behind ",
                                   manifest->parent));
    } else {
      context_.manifests.emplace(id, *std::move(manifest));
    }
  }

  // What is published never goes back.
  void Finish() override {
    const Manifest* before = nullptr;
    for (const auto& [id, manifest] : context_.manifests) {
      if (before != nullptr && (manifest.last_version < before->last_version ||
                                manifest.log_floor < before->log_floor)) {
        context_.Damage(absl::StrCat("manifest ", id, ": version ", manifest.last_version,
                                     " and log file ", manifest.log_floor, " lie before those of ",
                                     "manifest ", before->id));
      }
      before = &manifest;
    }
  }

 private:
  VerifyContext& context_;
};

class MetaCheck final : public TreeCheck {
 public:
  explicit MetaCheck(VerifyContext& context) : context_(context) {}

  void Visit(std::string_view key, std::string_view value) override {
    if (IsOutcomeKey(key)) return VisitOutcome(key, value);
    if (key == kFormatKey) return;  // Looked at before all else.
    if (key == kHeadKey) {
      head_ = Number(key, value);
    } else if (key == kIngestedKey) {
      ingested_ = Number(key, value);
    } else if (key == kOutcomeCountKey) {
      outcome_count_ = Number(key, value);
    } else if (key == kPrunedKey) {
      const absl::StatusOr<std::string_view> pruned = UnsealBytes(key, value);
      if (!pruned.ok()) return Broken(pruned.status());
      pruned_ = *pruned;
      if (!IsOutcomeKey(pruned_)) Damage("the row 'pruned' names no token");
    } else if (key == kFlushKey) {
      absl::StatusOr<FlushRow> row = DecodeFlushRow(value);
      if (!row.ok()) return Broken(row.status());
      context_.l1.flush = *std::move(row);
    } else {
      Damage(absl::StrCat("an unknown row '", absl::Utf8SafeCHexEscape(ToAbsl(key)), "'"));
    }
  }

  void Finish() override {
    CheckOutcomes();
    if (broken_) return;
    FindHead();
    if (broken_) return;
    CheckFlush();
    context_.l1_is_known = !broken_;
    context_.report().manifest = context_.l1.head.id;
    context_.report().flushed_version = context_.l1.head.last_version;
    const Version head_version = context_.l1.head.last_version;
    if (outcome_version_max_ > head_version) {
      Damage(absl::StrCat("an outcome names version ", outcome_version_max_,
                          ", but only versions up to ", head_version, " were flushed"));
    }
  }

 private:
  void VisitOutcome(std::string_view key, std::string_view value) {
    ++outcome_rows_;
    if (first_outcome_.empty()) first_outcome_ = key;
    const absl::StatusOr<CommitToken> token = ReadOutcomeKey(key);
    if (!token.ok()) Damage(token.status().message());
    const absl::StatusOr<Version> version = DecodeNumber(key, value);
    if (!version.ok()) return context_.Damage(std::string(version.status().message()));
    if (*version == kNoVersion) {
      Damage(absl::StrCat("the row '", absl::Utf8SafeCHexEscape(ToAbsl(key)), "' has no version"));
    }
    outcome_version_max_ = std::max(outcome_version_max_, *version);
  }

  void CheckOutcomes() {
    if (outcome_rows_ != outcome_count_.value_or(0) || outcome_rows_ > kRememberedCommitsMax) {
      Damage(absl::StrCat("it remembers ", outcome_rows_, " outcomes where there should be ",
                          outcome_count_.value_or(0), ", at most ", kRememberedCommitsMax));
    }
    if (!first_outcome_.empty() && first_outcome_ <= pruned_) {
      Damage("an outcome is there whose token was pruned");
    }
  }

  void FindHead() {
    const uint64_t newest = context_.manifests.empty() ? 0 : context_.manifests.rbegin()->first;
    if (head_.value_or(0) != newest) {
      broken_ = true;
      Damage(absl::StrCat("the head is manifest ", head_.value_or(0), ", but the newest one is ",
                          newest));
    } else if (newest != 0) {
      context_.l1.head = context_.manifests.rbegin()->second;
    }
  }

  // A flush under way follows the head; what it brings is what L1 may hold a row of.
  void CheckFlush() {
    L1State& l1 = context_.l1;
    l1.ingested = ingested_.value_or(kNoVersion);
    const Version ingested = l1.flush.has_value() ? l1.flush->last_version : l1.head.last_version;
    if (l1.ingested != ingested) {
      broken_ = true;
      Damage(absl::StrCat("L1 may hold rows up to version ", l1.ingested, ", but ",
                          l1.flush.has_value() ? "the flush under way" : "the head", " ends with ",
                          ingested));
    }
    if (!l1.flush.has_value()) return;
    const FlushRow& flush = *l1.flush;
    if (flush.sequence != l1.head.id + 1 || flush.first_version != l1.head.last_version + 1 ||
        flush.last_version < flush.first_version) {
      broken_ = true;
      Damage(absl::StrCat("flush ", flush.sequence, " of versions ", flush.first_version, " to ",
                          flush.last_version, " does not follow manifest ", l1.head.id,
                          ", which ends with version ", l1.head.last_version));
    }
  }

  std::optional<uint64_t> Number(std::string_view key, std::string_view value) {
    const absl::StatusOr<uint64_t> number = DecodeNumber(key, value);
    if (number.ok()) return *number;
    Broken(number.status());
    return std::nullopt;
  }
  void Broken(const absl::Status& status) {
    broken_ = true;
    context_.Damage(std::string(status.message()));
  }
  void Damage(absl::string_view what) {
    context_.Damage(absl::StrCat("tree meta of store.mdb: ", what));
  }

  VerifyContext& context_;
  bool broken_ = false;  // Where L1 stands cannot be said.
  std::optional<uint64_t> head_;
  std::optional<uint64_t> ingested_;
  std::optional<uint64_t> outcome_count_;
  uint64_t outcome_rows_ = 0;
  std::string first_outcome_;
  std::string pruned_;
  Version outcome_version_max_ = kNoVersion;
};

}  // namespace

std::unique_ptr<TreeCheck> MakeManifestCheck(VerifyContext& context) {
  return std::make_unique<ManifestCheck>(context);
}
std::unique_ptr<TreeCheck> MakeMetaCheck(VerifyContext& context) {
  return std::make_unique<MetaCheck>(context);
}

}  // namespace millrace::storage
