#include "millrace/storage/task_rows.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/environment.h"
#include "millrace/storage/meta.h"

namespace millrace::storage {
namespace {

// What its checksum covers, and an error names.
constexpr std::string_view kCounterName = "last task";

// `row` is a cursor of tree kTasks, in a transaction that reads or writes.
absl::StatusOr<std::vector<IndexTask>> List(Cursor row, IndexId index) {
  std::vector<IndexTask> tasks;
  const std::string prefix = index == 0 ? "" : TaskPrefix(index);
  for (row.Seek(prefix); row.Valid() && row.key().starts_with(prefix); row.Next()) {
    if (row.key() == TaskCounterKey()) continue;
    absl::StatusOr<IndexTask> task = DecodeTask(row.value());
    if (!task.ok()) return task.status();
    tasks.push_back(*std::move(task));
  }
  if (!row.status().ok()) return row.status();
  return tasks;
}

}  // namespace

absl::StatusOr<IndexTask> ReadTask(const WriteTransaction& transaction, IndexId index,
                                   TaskId task) {
  const auto row = transaction.Get(TreeId::kTasks, TaskKey(index, task));
  if (!row.ok()) return row.status();
  if (row->has_value()) return DecodeTask(**row);
  return absl::NotFoundError(absl::StrCat("index ", index, " has no task ", task));
}

absl::StatusOr<IndexTask> FindTask(const ReadTransaction& transaction, TaskId task) {
  absl::StatusOr<std::vector<IndexTask>> tasks = ListTasks(transaction);
  if (!tasks.ok()) return tasks.status();
  for (IndexTask& candidate : *tasks) {
    if (candidate.id == task) return std::move(candidate);
  }
  return absl::NotFoundError(
      absl::StrCat("there is no index build ", task, ", or it was cleaned up"));
}

absl::StatusOr<std::vector<IndexTask>> ListTasks(const ReadTransaction& transaction,
                                                 IndexId index) {
  return List(transaction.NewCursor(TreeId::kTasks), index);
}

absl::StatusOr<std::vector<IndexTask>> ListTasks(WriteTransaction& transaction, IndexId index) {
  return List(transaction.NewCursor(TreeId::kTasks), index);
}

absl::Status PutTask(WriteTransaction& transaction, const IndexTask& task) {
  return transaction.Put(TreeId::kTasks, TaskKey(task.request.index, task.id), EncodeTask(task));
}

absl::Status DeleteTask(WriteTransaction& transaction, IndexId index, TaskId task) {
  return transaction.Delete(TreeId::kTasks, TaskKey(index, task)).status();
}

absl::StatusOr<TaskId> TakeTaskId(WriteTransaction& transaction) {
  const auto row = transaction.Get(TreeId::kTasks, TaskCounterKey());
  if (!row.ok()) return row.status();
  absl::StatusOr<uint64_t> last = 0;
  if (row->has_value()) last = DecodeNumber(kCounterName, **row);
  if (!last.ok()) return last;
  absl::Status status =
      transaction.Put(TreeId::kTasks, TaskCounterKey(), EncodeNumber(kCounterName, *last + 1));
  if (!status.ok()) return status;
  return *last + 1;
}

}  // namespace millrace::storage
