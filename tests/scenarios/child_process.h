#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace millrace::testing {

// A program that runs beside the test, with pipes at its standard input and output. Killed, if it
// still runs, when this ends. Thread-compatible.
class ChildProcess {
 public:
  // `arguments` begin with the program's path.
  explicit ChildProcess(const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Up to `size` bytes; 0 at the end of the output, or after `timeout_ms` (-1: none) without any.
  size_t Read(char* out, size_t size, int timeout_ms = -1);
  void CloseInput();
  void Kill();
  // The wait status, once it has ended.
  int Wait();

 private:
  pid_t pid_ = -1;
  int input_ = -1;   // Of the child.
  int output_ = -1;  // Of the child.
};

}  // namespace millrace::testing
