#pragma once

namespace millrace {

// Logs `what` with the stack of the caller and ends the process: a bug of ours, in every build.
// Headers use it in place of glog's CHECK, which no header may include. Thread-safe.
[[noreturn]] void DieOfBug(const char* what);

}  // namespace millrace
