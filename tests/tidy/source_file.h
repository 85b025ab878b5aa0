#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace millrace::testing {

// One file of ours as the rules see it. A value.
struct SourceFile {
  std::string path;                // From the repository's root: "storage/row_key.h".
  std::vector<std::string> lines;  // As they stand.
  // The same lines, where comments, the insides of literals and preprocessor lines are blanks, so
  // that a rule about code does not meet prose. Columns are kept.
  std::vector<std::string> code;

  // Of a path: "storage" of "storage/row_key.h".
  std::string_view Folder() const;
  std::string_view FileName() const;
  bool IsHeader() const { return path.ends_with(".h"); }
};

// Splits and blanks `text`.
SourceFile MakeSourceFile(std::string path, std::string_view text);

}  // namespace millrace::testing
