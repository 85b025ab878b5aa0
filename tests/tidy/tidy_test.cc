// The rules of rules.h over every source of this repository.
#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rules.h"
#include "source_file.h"

namespace millrace::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 7> kFolders = {"messages", "storage", "runtime", "actors",
                                                 "tools",    "tests",   "bench"};

fs::path Root() {
  return MILLRACE_SOURCE_DIR;
}

std::string Read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// Every file of ours, sorted by path.
std::vector<fs::path> Files() {
  std::vector<fs::path> files;
  for (const char* folder : kFolders) {
    for (const auto& entry : fs::recursive_directory_iterator(Root() / folder)) {
      if (entry.is_regular_file()) {
        files.push_back(entry.path());
      }
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string AllLists(const std::vector<fs::path>& files) {
  std::string lists;
  for (const fs::path& file : files) {
    if (file.filename() == "CMakeLists.txt" || file.extension() == ".cmake") {
      lists += Read(file);
    }
  }
  return lists;
}

TEST(TidyTest, EverySourceFollowsTheRules) {
  const std::vector<fs::path> files = Files();
  const std::string lists = AllLists(files);
  std::vector<Finding> findings;
  int source_count = 0;
  for (const fs::path& path : files) {
    if (path.extension() != ".h" && path.extension() != ".cc") {
      continue;
    }
    ++source_count;
    const SourceFile file = MakeSourceFile(fs::relative(path, Root()).string(), Read(path));
    std::vector<Finding> found = CheckAll(file);
    if (path.extension() == ".cc") {
      const std::vector<Finding> unlisted = CheckRegistered(file, lists);
      found.insert(found.end(), unlisted.begin(), unlisted.end());
    }
    findings.insert(findings.end(), found.begin(), found.end());
  }
  EXPECT_GT(source_count, 10) << "found no sources under " << Root();
  for (const Finding& finding :
       ApplyExceptions(findings, Read(Root() / "tests/tidy/exceptions.txt"))) {
    ADD_FAILURE() << ToString(finding);
  }
}

}  // namespace
}  // namespace millrace::testing
