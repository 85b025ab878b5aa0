#pragma once

#include <cstdio>
#include <string_view>

#include "absl/status/status.h"

namespace millrace {

// The command's two ways out: data on standard output, messages on standard error.
// Thread-compatible.
class Console {
 public:
  // Both stay the caller's.
  Console(std::FILE* out, std::FILE* err) : out_(out), err_(err) {}

  // Writes data. Once a write has failed, does nothing: see Flush.
  void Print(std::string_view data);
  // Writes "millrace: " and the message as a line.
  void Complain(std::string_view message);
  // The code and text of a failed operation, with what was being done.
  void Complain(std::string_view doing, const absl::Status& status);

  // False once writing data has failed: nobody reads on.
  bool can_print() const { return can_print_; }
  // Sends out what was printed. Cancelled if the reader has gone away (`| head`), else what failed.
  absl::Status Flush();

 private:
  std::FILE* const out_;
  std::FILE* const err_;
  bool can_print_ = true;
  int error_number_ = 0;
};

}  // namespace millrace
