#include "tools/command_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "gtest/gtest.h"
#include <grp.h>
#include <poll.h>

namespace millrace {
namespace {

constexpr uid_t kNobody = 65534;

void OpenPipe(int ends[2]) {
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
}

void CloseEnd(int* end) {
  if (*end >= 0) ::close(*end);
  *end = -1;
}

// Appends what is there. False at the end.
bool ReadSome(int descriptor, std::string* out) {
  char buffer[1 << 14];
  ssize_t count;
  do {
    count = ::read(descriptor, buffer, sizeof(buffer));
  } while (count < 0 && errno == EINTR);
  if (count > 0) out->append(buffer, static_cast<size_t>(count));
  return count > 0;
}

// In the child, between fork and exec: system calls only.
[[noreturn]] void Become(const std::vector<char*>& arguments, const int streams[3],
                         bool as_nobody) {
  for (int i = 0; i < 3; ++i) {
    if (::dup2(streams[i], i) < 0) _exit(126);
  }
  ::signal(SIGPIPE, SIG_DFL);
  if (as_nobody &&
      (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) {
    _exit(126);
  }
  ::execv(MILLRACE_COMMAND, arguments.data());
  _exit(127);
}

}  // namespace

CommandProcess::CommandProcess(const std::vector<std::string>& words, bool as_nobody) {
  std::vector<std::string> copies = words;
  copies.insert(copies.begin(), MILLRACE_COMMAND);
  std::vector<char*> arguments;
  arguments.reserve(copies.size() + 1);
  for (std::string& word : copies) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  int in[2];
  int out[2];
  int err[2];
  OpenPipe(in);
  OpenPipe(out);
  OpenPipe(err);
  pid_ = ::fork();
  if (pid_ == 0) {
    const int streams[3] = {in[0], out[1], err[1]};
    Become(arguments, streams, as_nobody);
  }
  ::close(in[0]);
  ::close(out[1]);
  ::close(err[1]);
  input_ = in[1];
  output_ = out[0];
  messages_ = err[0];
}

CommandProcess::~CommandProcess() {
  if (pid_ > 0) {
    Kill();
    Wait();
  }
}

void CommandProcess::Write(std::string_view text) const {
  while (!text.empty()) {
    const ssize_t count = ::write(input_, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;  // It has ended; its exit code says why.
    text.remove_prefix(static_cast<size_t>(count));
  }
}

void CommandProcess::CloseInput() {
  CloseEnd(&input_);
}

bool CommandProcess::WaitForMessage(std::string_view text) {
  while (err_.find(text) == std::string::npos) {
    if (!ReadSome(messages_, &err_)) return false;
  }
  return true;
}

void CommandProcess::Kill() const {
  ::kill(pid_, SIGKILL);
}

CommandResult CommandProcess::Wait() {
  CloseInput();
  CommandResult result;
  pollfd streams[2] = {{output_, POLLIN, 0}, {messages_, POLLIN, 0}};
  while (streams[0].fd >= 0 || streams[1].fd >= 0) {
    if (::poll(streams, 2, -1) < 0) continue;
    if (streams[0].revents != 0 && !ReadSome(output_, &result.out)) streams[0].fd = -1;
    if (streams[1].revents != 0 && !ReadSome(messages_, &err_)) streams[1].fd = -1;
  }
  CloseEnd(&output_);
  CloseEnd(&messages_);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  result.err = std::move(err_);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return result;
}

CommandResult RunMillrace(const std::vector<std::string>& words, std::string_view input) {
  CommandProcess process(words);
  process.Write(input);
  return process.Wait();
}

}  // namespace millrace
