#include "source_file.h"

#include <cctype>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::testing {
namespace {

// Walks C++ text once and writes a blank for every character that is no code.
class Blanker {
 public:
  explicit Blanker(std::string_view text) : text_(text), code_(text) {}

  std::string Run() {
    while (at_ < text_.size()) {
      Step();
    }
    return std::move(code_);
  }

 private:
  void Step() {
    const char c = text_[at_];
    if (Ahead("//")) {
      BlankUntil(EndOfLine());
    } else if (Ahead("/*")) {
      BlankUntil(After("*/"));
    } else if (c == '#' && FirstOnLine()) {
      BlankUntil(EndOfLine());
    } else if (Ahead("R\"") && !InWord()) {
      const size_t open = text_.find('(', at_);
      const std::string delimiter(text_.substr(at_ + 2, open - at_ - 2));
      BlankUntil(After(")" + delimiter + "\""));
    } else if (c == '"') {
      BlankUntil(EndOfLiteral('"'));
    } else if (c == '\'' && !InWord()) {  // Inside a word it separates digits.
      BlankUntil(EndOfLiteral('\''));
    } else {
      ++at_;
    }
  }

  bool Ahead(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  bool InWord() const {
    return at_ > 0 && (std::isalnum(static_cast<unsigned char>(text_[at_ - 1])) != 0);
  }
  bool FirstOnLine() const {
    const size_t start = text_.rfind('\n', at_) + 1;  // npos + 1 is 0.
    return text_.substr(start, at_ - start).find_first_not_of(" \t") == std::string_view::npos;
  }
  size_t Bounded(size_t position) const {
    return position == std::string_view::npos ? text_.size() : position;
  }
  // Past lines that a backslash continues.
  size_t EndOfLine() const {
    size_t end = Bounded(text_.find('\n', at_));
    while (end < text_.size() && text_[end - 1] == '\\') {
      end = Bounded(text_.find('\n', end + 1));
    }
    return end;
  }
  size_t After(std::string_view closing) const {
    const size_t found = text_.find(closing, at_ + 1);
    return found == std::string_view::npos ? text_.size() : found + closing.size();
  }
  size_t EndOfLiteral(char quote) const {
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote && text_[end] != '\n') {
      end += text_[end] == '\\' ? 2 : 1;
    }
    return Bounded(end) < text_.size() ? end + 1 : text_.size();
  }
  void BlankUntil(size_t end) {
    for (; at_ < end && at_ < text_.size(); ++at_) {
      if (text_[at_] != '\n') {
        code_[at_] = ' ';
      }
    }
  }

  std::string_view text_;
  std::string code_;
  size_t at_ = 0;
};

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

}  // namespace

std::string_view SourceFile::Folder() const {
  return std::string_view(path).substr(0, path.find('/'));
}

std::string_view SourceFile::FileName() const {
  return std::string_view(path).substr(path.rfind('/') + 1);
}

SourceFile MakeSourceFile(std::string path, std::string_view text) {
  return {.path = std::move(path), .lines = Lines(text), .code = Lines(Blanker(text).Run())};
}

}  // namespace millrace::testing
