#pragma once

#include <cstdio>
#include <string_view>

namespace millrace {

// A file without a name that holds `content`, read from its beginning. Value-like: closed at the
// end of its life.
class InputFile {
 public:
  explicit InputFile(std::string_view content) : file_(std::tmpfile()) {
    std::fwrite(content.data(), 1, content.size(), file_);
    std::fflush(file_);
    std::rewind(file_);
  }
  ~InputFile() { std::fclose(file_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  int descriptor() const { return fileno(file_); }

 private:
  std::FILE* const file_;
};

}  // namespace millrace
