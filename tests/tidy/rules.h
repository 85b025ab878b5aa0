#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "source_file.h"

namespace millrace::testing {

// A place that breaks a rule. A value.
struct Finding {
  std::string rule;
  std::string path;
  int line = 0;  // From 1; 0 is the whole file.
  std::string message;

  bool operator==(const Finding&) const = default;
};

// "storage/log.cc:12: [sleep] ...", as editors jump to it.
std::string ToString(const Finding& finding);

// Rules about one file.
std::vector<Finding> CheckLines(const SourceFile& file);      // What a line may not say.
std::vector<Finding> CheckIncludes(const SourceFile& file);   // Doors to third parties, order.
std::vector<Finding> CheckFunctions(const SourceFile& file);  // At most 70 lines.
std::vector<Finding> CheckFile(const SourceFile& file);       // Size, name, pragma once.
std::vector<Finding> CheckAll(const SourceFile& file);        // All of the above.

// A source that no CMakeLists.txt names is neither built nor tested. `lists` is the text of all of
// them.
std::vector<Finding> CheckRegistered(const SourceFile& file, std::string_view lists);

// Removes the findings that `exceptions` allow: one "rule path reason" a line, # begins a comment.
// An exception that allows nothing any more, or gives no reason, is a finding itself.
std::vector<Finding> ApplyExceptions(std::vector<Finding> findings, std::string_view exceptions);

}  // namespace millrace::testing
