// The millrace command. Exit codes: tools/exit_code.h.

#include <csignal>
#include <cstdio>
#include <string_view>
#include <vector>

#include "glog/logging.h"

#include "millrace/tools/command.h"

int main(int argc, char** argv) {
  // What the library logs are messages: warnings and worse, on standard error.
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::GLOG_WARNING;
  google::InitGoogleLogging(argc > 0 ? argv[0] : "millrace");
  // `| head` ends a scan by an error of write, so that the store is closed in order.
  std::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string_view> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  millrace::Console console(stdout, stderr);
  return static_cast<int>(millrace::RunCommand(words, console));
}
