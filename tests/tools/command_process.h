#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace millrace {

// What a run of the command ended with. Value.
struct CommandResult {
  int exit_code = -1;  // Minus the signal if one ended it.
  std::string out;
  std::string err;
};

// A run of the millrace command in a process of its own, with pipes to it. Thread-compatible.
class CommandProcess {
 public:
  // Starts `millrace` with these words; as user `nobody` if asked for (needs root).
  explicit CommandProcess(const std::vector<std::string>& words, bool as_nobody = false);
  ~CommandProcess();
  CommandProcess(const CommandProcess&) = delete;
  CommandProcess& operator=(const CommandProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Writes to its standard input, which stays open.
  void Write(std::string_view text) const;
  void CloseInput();
  // Waits until its messages contain `text`. False if it ends before.
  bool WaitForMessage(std::string_view text);
  void Kill() const;
  // Closes its input, reads its output to the end, and waits for it.
  CommandResult Wait();

 private:
  pid_t pid_ = -1;
  int input_ = -1;
  int output_ = -1;
  int messages_ = -1;
  std::string err_;
};

// Runs it to the end with `input` as standard input.
CommandResult RunMillrace(const std::vector<std::string>& words, std::string_view input = "");

}  // namespace millrace
