#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/io_shim.h"
#include <dlfcn.h>

namespace millrace::testing {
namespace {

constexpr char kChildVariable[] = "MILLRACE_IO_SHIM_CHILD";

template <typename Function>
Function* FindInShim(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

auto* FindShim() {
  return FindInShim<void(const char*)>("millrace_io_shim_set");
}

}  // namespace

bool SetIoFaults(const char* rules) {
  auto* const set = FindShim();
  if (set == nullptr) return false;
  set(rules);
  return true;
}

int64_t IoFaultCount() {
  auto* const struck = FindInShim<int64_t()>("millrace_io_shim_struck");
  return struck == nullptr ? 0 : struck();
}

bool SetIoObserver(IoObserver observer) {
  auto* const observe = FindInShim<void(IoObserver)>("millrace_io_shim_observe");
  if (observe == nullptr) return false;
  observe(observer);
  return true;
}

bool RanWithIoShim() {
  if (getenv(kChildVariable) != nullptr) {
    EXPECT_NE(FindShim(), nullptr) << "the shim was not preloaded: " << MILLRACE_IO_SHIM_PATH;
    return false;
  }
  const ::testing::TestInfo* const test = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::string filter =
      std::string("--gtest_filter=") + test->test_suite_name() + "." + test->name();
  const pid_t child = fork();
  if (child == 0) {
    setenv("LD_PRELOAD", MILLRACE_IO_SHIM_PATH, 1);
    setenv(kChildVariable, "1", 1);
    // The shim comes before the sanitizer's runtime; that is all right, it allocates nothing.
    const char* const asan = getenv("ASAN_OPTIONS");
    const std::string options =
        std::string(asan == nullptr ? "" : asan) + ":verify_asan_link_order=0";
    setenv("ASAN_OPTIONS", options.c_str(), 1);
    execl("/proc/self/exe", "test", filter.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << "the test failed with the shim preloaded, status " << status;
  return true;
}

}  // namespace millrace::testing
