#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "bench/rebuild_system.h"

namespace millrace {

BuildRate BuildRedis(const std::string& directory, int64_t record_count) {
  const std::string command = absl::StrCat(MILLRACE_RUBY, " ", MILLRACE_REBUILD_REDIS_SCRIPT, " ",
                                           directory, " ", record_count);
  const auto close = [](std::FILE* pipe) { pclose(pipe); };
  const std::unique_ptr<std::FILE, decltype(close)> pipe(popen(command.c_str(), "r"), close);
  char line[64] = {};
  double rate = 0;
  if (pipe == nullptr || std::fgets(line, sizeof(line), pipe.get()) == nullptr ||
      !absl::SimpleAtod(absl::string_view(line), &rate)) {
    return absl::InternalError(absl::StrCat("redis: no figure from: ", command));
  }
  return rate;
}

}  // namespace millrace
