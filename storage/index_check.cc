// What the rows of `generations`, `tasks` and `index` must be.

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/index_entry.h"
#include "millrace/storage/index_task.h"
#include "millrace/storage/tree_check.h"

namespace millrace::storage {
namespace {

class GenerationCheck final : public TreeCheck {
 public:
  explicit GenerationCheck(VerifyContext& context) : context_(context) {}

  void Visit(std::string_view key, std::string_view value) override {
    absl::StatusOr<GenerationState> state = DecodeGenerations(value);
    if (!state.ok()) {
      all_are_readable_ = false;
      return context_.Damage(std::string(state.status().message()));
    }
    const IndexId index = state->index;
    if (GenerationKey(index) != key) {
      return context_.Damage(absl::StrCat("the generations of index ", index,
                                          " lie under another's key ",
                                          absl::BytesToHexString(ToAbsl(key))));
    }
    if (state->live > state->last || state->building > state->last) {
      context_.Damage(absl::StrCat("the generations of index ", index, ": ", state->last,
                                   " is the last of them, but live is ", state->live,
                                   " and building ", state->building));
    }
    if (context_.catalog_is_known && !state->dropped && context_.indexes.count(index) == 0) {
      // Its definition may have been dropped by a commit that the log alone holds; then this says
      // so. A definition is never older than the generations.
      context_.report().notes.push_back(
          absl::StrCat("index ", index, " has generations and no definition"));
    }
    context_.generations.emplace(index, *std::move(state));
  }
  void Finish() override { context_.generations_are_known = all_are_readable_; }

 private:
  VerifyContext& context_;
  bool all_are_readable_ = true;
};

class TaskCheck final : public TreeCheck {
 public:
  explicit TaskCheck(VerifyContext& context) : context_(context) {}

  void Visit(std::string_view key, std::string_view value) override {
    if (key == TaskCounterKey()) return;
    const absl::StatusOr<IndexTask> task = DecodeTask(value);
    if (!task.ok()) return context_.Damage(std::string(task.status().message()));
    std::string_view rest = key;
    IndexId index = 0;
    if (!ConsumeOrderedInteger(&rest, &index) || TaskKey(index, task->id) != key) {
      context_.Damage(absl::StrCat("index build ", task->id, " lies under another's key ",
                                   absl::BytesToHexString(ToAbsl(key))));
    }
  }

 private:
  VerifyContext& context_;
};

class EntryCheck final : public TreeCheck {
 public:
  explicit EntryCheck(VerifyContext& context) : context_(context) {}

  void Visit(std::string_view key, std::string_view value) override {
    const absl::StatusOr<IndexEntry> entry = DecodeIndexEntry(key);
    if (!entry.ok()) return context_.Damage(std::string(entry.status().message()));
    if (!value.empty()) {
      context_.Damage(absl::StrCat("index entry ", absl::BytesToHexString(ToAbsl(key)),
                                   " has a value of ", value.size(), " bytes"));
    }
  }

 private:
  VerifyContext& context_;
};

}  // namespace

std::unique_ptr<TreeCheck> MakeGenerationCheck(VerifyContext& context) {
  return std::make_unique<GenerationCheck>(context);
}
std::unique_ptr<TreeCheck> MakeTaskCheck(VerifyContext& context) {
  return std::make_unique<TaskCheck>(context);
}
std::unique_ptr<TreeCheck> MakeEntryCheck(VerifyContext& context) {
  return std::make_unique<EntryCheck>(context);
}

}  // namespace millrace::storage
