#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/index_task.h"

namespace millrace::storage {

class ReadTransaction;
class WriteTransaction;

// The rows of tree `tasks`. All errors but NotFound are LMDB's, or those of DecodeTask.

// NotFound if the index has no such task.
absl::StatusOr<IndexTask> ReadTask(const WriteTransaction& transaction, IndexId index, TaskId task);
// The task of that number, whatever its index.
absl::StatusOr<IndexTask> FindTask(const ReadTransaction& transaction, TaskId task);
// The tasks of one index, or (0) of all, ascending by index and task.
absl::StatusOr<std::vector<IndexTask>> ListTasks(const ReadTransaction& transaction,
                                                 IndexId index = 0);
absl::StatusOr<std::vector<IndexTask>> ListTasks(WriteTransaction& transaction, IndexId index = 0);

absl::Status PutTask(WriteTransaction& transaction, const IndexTask& task);
absl::Status DeleteTask(WriteTransaction& transaction, IndexId index, TaskId task);
// A number that no task has had.
absl::StatusOr<TaskId> TakeTaskId(WriteTransaction& transaction);

}  // namespace millrace::storage
