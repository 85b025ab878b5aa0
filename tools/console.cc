#include "millrace/tools/console.h"

#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"

#include "millrace/storage/row_key.h"

namespace millrace {

using storage::ToAbsl;

void Console::Print(std::string_view data) {
  if (!can_print_ || std::fwrite(data.data(), 1, data.size(), out_) == data.size()) return;
  can_print_ = false;
  error_number_ = errno;
}

void Console::Complain(std::string_view message) {
  const std::string line = absl::StrCat("millrace: ", ToAbsl(message), "\n");
  std::fwrite(line.data(), 1, line.size(), err_);
  std::fflush(err_);
}

void Console::Complain(std::string_view doing, const absl::Status& status) {
  Complain(absl::StrCat(ToAbsl(doing), ": ",
                        status.message().empty() ? absl::StatusCodeToString(status.code())
                                                 : std::string(status.message())));
}

absl::Status Console::Flush() {
  if (can_print_ && std::fflush(out_) != 0) {
    can_print_ = false;
    error_number_ = errno;
  }
  if (can_print_) return absl::OkStatus();
  if (error_number_ == EPIPE) return absl::CancelledError("standard output was closed");
  return absl::ErrnoToStatus(error_number_, "write standard output");
}

}  // namespace millrace
