#include "millrace/storage/verify.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/derived_check.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/lock_file.h"
#include "millrace/storage/log_survey.h"
#include "millrace/storage/page_file.h"
#include "millrace/storage/page_walk.h"
#include "millrace/storage/store_directory.h"
#include "millrace/storage/tree_check.h"
#include "millrace/storage/tree_id.h"

namespace millrace::storage {
namespace {

// One look at a store, in the order of its functions.
class Verification {
 public:
  Verification(std::string_view directory, FileSystem& files)
      : directory_(directory), files_(files), context_(report_) {}

  absl::StatusOr<VerifyReport> Run();

 private:
  absl::Status OpenFile();
  absl::Status CheckTrees();
  absl::Status FindTrees();
  absl::Status CheckTree(TreeId id, TreeCheck& check);
  absl::Status CheckLog();
  void CheckDerived();
  void CheckFreeList();

  const std::string directory_;
  FileSystem& files_;
  VerifyReport report_;
  VerifyContext context_;

  std::optional<LockFile> lock_;
  std::optional<PageFile> file_;
  std::optional<PageWalk> walk_;
  std::array<std::optional<TreeDescription>, kTreeCount> trees_;
};

absl::StatusOr<VerifyReport> Verification::Run() {
  absl::Status status = OpenFile();
  if (status.ok() && file_.has_value()) status = CheckTrees();
  if (!status.ok()) return status;
  return std::move(report_);
}

// Leaves `file_` empty where not even a meta page can be used.
absl::Status Verification::OpenFile() {
  if (absl::Status s = PrepareStoreDirectory(directory_, /*create_if_missing=*/false); !s.ok()) {
    return s;
  }
  absl::StatusOr<LockFile> lock = LockFile::AcquireForReading(JoinPath(directory_, kLockFileName));
  if (lock.ok()) {
    lock_.emplace(*std::move(lock));
  } else if (!absl::IsNotFound(lock.status())) {
    return lock.status();  // A copy of a store may lack the file: nobody has it open then.
  }
  absl::StatusOr<PageFile> file =
      PageFile::Open(SystemFileSystem(), JoinPath(directory_, kDatabaseFileName), report_);
  if (file.ok()) {
    file_.emplace(*std::move(file));
  } else if (!absl::IsDataLoss(file.status())) {
    return file.status();
  } else {
    report_.AddDamage(std::string(file.status().message()));
  }
  return absl::OkStatus();
}

absl::Status Verification::CheckTrees() {
  report_.page_count = file_->page_count();
  walk_.emplace(*file_, report_);
  if (absl::Status s = FindTrees(); !s.ok()) return s;
  const auto check = [&](TreeId id, std::unique_ptr<TreeCheck> tree) {
    return CheckTree(id, *tree);
  };
  absl::Status status = check(TreeId::kManifests, MakeManifestCheck(context_));
  if (status.ok()) status = check(TreeId::kMeta, MakeMetaCheck(context_));
  if (status.ok() && context_.l1_is_known) status = CheckLog();
  if (status.ok()) status = check(TreeId::kCatalog, MakeCatalogCheck(context_));
  if (status.ok()) status = check(TreeId::kGenerations, MakeGenerationCheck(context_));
  if (status.ok()) status = check(TreeId::kTasks, MakeTaskCheck(context_));
  if (status.ok()) status = check(TreeId::kRecords, MakeRecordCheck(context_));
  if (status.ok()) status = check(TreeId::kRelations, MakeLinkCheck(context_));
  if (status.ok()) status = check(TreeId::kIndex, MakeEntryCheck(context_));
  if (!status.ok()) return status;
  if (walk_->whole()) {
    if (context_.log_is_known) context_.logged.FindMissing(context_.l1, report_);
    CheckDerived();
  }
  CheckFreeList();
  walk_->Finish();
  return absl::OkStatus();
}

// The main tree names the others. One that is missing came with a later version of Millrace: the
// next open makes it.
absl::Status Verification::FindTrees() {
  if (file_->main().root == kNoPage && file_->main().rows == 0) {
    return absl::NotFoundError(
        absl::StrCat("verifying ", file_->path(), ": the file holds no store yet"));
  }
  const bool whole =
      walk_->Tree("main", file_->main(), PageWalk::Keys::kBytes, [&](const PageWalk::Row& row) {
        for (size_t i = 0; i < kTreeCount; ++i) {
          if (!row.is_tree || row.key != TreeName(static_cast<TreeId>(i))) continue;
          trees_[i] = ReadTreeDescription(row.value.data());
          if (trees_[i]->flags == 0 && trees_[i]->padding == 0) return;
        }
        report_.AddDamage(absl::StrCat(file_->Place(row.page), " of tree main: '",
                                       absl::Utf8SafeCHexEscape(ToAbsl(row.key)),
                                       "' is no tree of a store"));
      });
  if (!whole) return absl::OkStatus();
  const auto is_there = [](const auto& tree) { return tree.has_value(); };
  if (std::none_of(trees_.begin(), trees_.end(), is_there)) {
    return absl::FailedPreconditionError(
        absl::StrCat("verifying ", file_->path(), ": an LMDB file, but no Millrace store"));
  }
  return absl::OkStatus();
}

absl::Status Verification::CheckTree(TreeId id, TreeCheck& check) {
  const std::optional<TreeDescription>& tree = trees_[static_cast<size_t>(id)];
  if (!tree.has_value()) return absl::OkStatus();
  const std::string_view name = TreeName(id);
  absl::Status status;
  uint64_t rows = 0;
  const bool whole =
      walk_->Tree(name, *tree, PageWalk::Keys::kBytes, [&](const PageWalk::Row& row) {
        ++rows;
        if (row.is_tree) {
          report_.AddDamage(absl::StrCat(file_->Place(row.page), ": a tree inside a tree"));
        } else if (id == TreeId::kMeta && row.key == kFormatKey && status.ok()) {
          status = CheckFormat(row.value, file_->path());
        }
        if (!row.is_tree) check.Visit(row.key, row.value);
      });
  if (whole && status.ok()) check.Finish();
  report_.trees.push_back({.name = std::string(name), .rows = rows, .pages = tree->pages()});
  return status;
}

absl::Status Verification::CheckLog() {
  const L1State& l1 = context_.l1;
  const std::string directory = JoinPath(directory_, kLogDirectoryName);
  LogReport log;
  const auto take = [&](const LoggedBatch& batch) { return context_.logged.Take(batch, l1); };
  LogSurvey survey(files_, directory,
                   {.floor_file = l1.head.log_floor,
                    .flushed_version = l1.head.last_version,
                    .durable_version = l1.ingested},
                   take, log);
  absl::Status status = survey.Run();
  report_.log_file_count = log.file_count;
  report_.log_batch_count = log.batch_count;
  report_.last_version = survey.reader().last_version();
  report_.notes = std::move(log.warnings);
  // The log is made behind the database file: a crash between the two leaves none.
  const bool not_made_yet = absl::IsNotFound(status) && l1.head.id == 0 && l1.ingested == 0;
  if (status.ok() || not_made_yet) {
    context_.log_is_known = true;
    return absl::OkStatus();
  }
  if (!absl::IsDataLoss(status) && !absl::IsNotFound(status)) return status;
  report_.AddDamage(std::string(status.message()));
  return absl::OkStatus();
}

// No part of a tree is missing, and what else is wrong with them was told.
void Verification::CheckDerived() {
  DerivedCheck(context_).Run([&](TreeId id, DerivedCheck::VisitRow visit) {
    const std::optional<TreeDescription>& tree = trees_[static_cast<size_t>(id)];
    if (!tree.has_value()) return;
    VerifyReport told;
    PageWalk(*file_, told)
        .Tree(TreeName(id), *tree, PageWalk::Keys::kBytes, [&](const PageWalk::Row& row) {
          if (!row.is_tree) visit(row.key, row.value);
        });
  });
}

// Key: the transaction that freed the pages, and a count; value: how many, and their numbers,
// descending.
void Verification::CheckFreeList() {
  const auto visit = [&](const PageWalk::Row& row) {
    uint64_t transaction = 0;
    std::memcpy(&transaction, row.key.data(), sizeof(transaction));
    const size_t words = row.value.size() / sizeof(uint64_t);
    const auto word = [&row](size_t i) {
      uint64_t value = 0;
      std::memcpy(&value, row.value.data() + i * sizeof(value), sizeof(value));
      return value;
    };
    if (row.is_tree || words == 0 || row.value.size() % sizeof(uint64_t) != 0 ||
        word(0) != words - 1 || transaction > file_->transaction()) {
      report_.AddDamage(absl::StrCat(file_->Place(row.page), " of tree free: a damaged list"));
      return;
    }
    const std::string where = absl::StrCat("free since transaction ", transaction);
    for (size_t i = 1; i < words; ++i) {
      if (walk_->Place(word(i), where)) ++report_.free_page_count;
    }
  };
  walk_->Tree("free", file_->free_list(), PageWalk::Keys::kIntegers, visit);
}

}  // namespace

void VerifyReport::AddDamage(std::string what) {
  ++damage_count;
  if (damage.size() < kDamageKept) damage.push_back(std::move(what));
}

absl::StatusOr<VerifyReport> VerifyStore(std::string_view directory, FileSystem& files) {
  return Verification(directory, files).Run();
}

}  // namespace millrace::storage
