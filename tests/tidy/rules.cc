#include "rules.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::testing {
namespace {

constexpr size_t kHeaderLinesMax = 150;
constexpr size_t kSourceLinesMax = 600;
constexpr int kFunctionLinesMax = 70;

// What of storage/ is a plain value, so that a message may hold it. A new one is added here.
// L0 buffer and marks are no values: a flush carries those that others share.
constexpr std::array<std::string_view, 13> kStorageValues = {
    "millrace/storage/commit_token.h", "millrace/storage/document.h",
    "millrace/storage/entry_batch.h",  "millrace/storage/generations.h",
    "millrace/storage/index_build.h",  "millrace/storage/index_definition.h",
    "millrace/storage/index_task.h",   "millrace/storage/l0_buffer.h",
    "millrace/storage/marks.h",        "millrace/storage/relation.h",
    "millrace/storage/row_key.h",      "millrace/storage/task_transition.h",
    "millrace/storage/write_batch.h"};

constexpr std::array<std::string_view, 4> kLayers = {"messages", "storage", "runtime", "actors"};

bool InLayer(const SourceFile& file) {
  return std::find(kLayers.begin(), kLayers.end(), file.Folder()) != kLayers.end();
}

// Where a transaction begins: reads from the pool, the one write transaction, and what opening
// does.
constexpr std::array<std::string_view, 3> kTransactionSources = {
    "storage/environment_open.cc", "storage/read_pool.cc", "storage/write_transaction.cc"};

struct LineRule {
  const char* name;
  const char* pattern;
  const char* message;
  bool headers_only = false;
  bool layers_only = false;
  bool prose = false;  // Looks at comments, too.
};

const std::vector<LineRule>& LineRules() {
  static const auto* const rules = new std::vector<LineRule>{
      {.name = "sleep",
       .pattern = R"(\b(sleep_for|sleep_until|usleep|nanosleep|SleepFor|sleep)\s*\()",
       .message = "never sleep: a clock, a condition or a notification with a deadline"},
      {.name = "shared_ptr",
       .pattern = R"(\b(shared_ptr|make_shared|weak_ptr|enable_shared_from_this)\b)",
       .message = "one owner; who shares by need is listed in tests/tidy/exceptions.txt"},
      {.name = "std_function",
       .pattern = R"(\bstd::function\b)",
       .message = "absl::AnyInvocable owns, absl::FunctionRef borrows"},
      {.name = "mutex",
       .pattern = R"(\b(std::(recursive_|shared_|timed_)?mutex|std::condition_variable)\b)",
       .message = "absl::Mutex: Clang checks its annotations"},
      {.name = "detach", .pattern = R"(\.detach\(\))", .message = "every thread is joined"},
      {.name = "using_namespace",
       .pattern = R"(\busing\s+namespace\b)",
       .message = "no using namespace in a header",
       .headers_only = true},
      {.name = "fixme",
       .pattern = R"(\bFIXME\b|\bXXX\b|\bTODO\b(?!\([^)]+\)))",
       .message = "TODO(issue) only",
       .prose = true},
      {.name = "txn_begin",
       .pattern = R"(\bmdb_txn_begin\s*\()",
       .message = "transactions begin in the sources that rules.cc lists"},
      {.name = "init_logging",
       .pattern = R"(\b(InitGoogleLogging|InstallFailureSignalHandler)\b)",
       .message = "an embedded library configures nothing global",
       .layers_only = true},
  };
  return *rules;
}

bool Allowed(const LineRule& rule, const SourceFile& file) {
  return rule.name == std::string_view("txn_begin") &&
         std::find(kTransactionSources.begin(), kTransactionSources.end(), file.path) !=
             kTransactionSources.end();
}

struct Door {
  const char* name;
  const char* pattern;  // Of the included path.
  const char* allowed;  // Of the including file.
  const char* message;
};

constexpr std::array<Door, 5> kDoors = {{
    {"lmdb_door", R"(lmdb\.h)", R"((storage|tests/storage|bench)/[^/]+\.cc)",
     "<lmdb.h> only in storage/*.cc"},
    {"queue_door", R"((.*/)?(blocking|lightweight)?(concurrentqueue|semaphore)\.h)",
     R"((runtime/mailbox|bench/.*)\.(h|cc))", "moodycamel only in runtime/mailbox.h"},
    {"glog_door", R"(glog/.*)", R"(.*\.cc)", "never glog in a header"},
    {"gtest_door", R"((gtest|gmock)/.*)", R"((tests|bench)/.*)", "GoogleTest only in tests"},
    {"dotdot", R"(.*\.\./.*)", R"($^)", "include by project path, never through .."},
}};

// The path an include line names, or nothing.
std::string Included(const std::string& line) {
  static const auto* const include = new std::regex(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"].*)");
  std::smatch match;
  return std::regex_match(line, match, *include) ? match[1].str() : std::string();
}

bool Matches(const std::string& text, const char* pattern) {
  return std::regex_match(text, std::regex(pattern));
}

void Append(std::vector<Finding>& all, std::vector<Finding> more) {
  std::move(more.begin(), more.end(), std::back_inserter(all));
}

// Finds where functions open and close. A brace opens a function if what stands before it, back to
// the last statement, has a parameter list and is neither a type, a namespace nor an initializer.
class FunctionFinder {
 public:
  explicit FunctionFinder(const SourceFile& file) : file_(file) {}

  std::vector<Finding> Run() {
    for (size_t i = 0; i < file_.code.size(); ++i) {
      for (const char c : file_.code[i]) {
        Take(c, static_cast<int>(i) + 1);
      }
      head_ += ' ';
    }
    return std::move(findings_);
  }

 private:
  void Take(char c, int line) {
    if (inside_ > 0) {
      TakeInside(c, line);
    } else if (c == '{' && IsBody()) {
      inside_ = 1;
      opened_ = line;
      counted_ = !EndsWith('=');
    } else if (c == '{' || c == '}' || c == ';') {
      head_.clear();
    } else {
      head_ += c;
    }
  }

  void TakeInside(char c, int line) {
    inside_ += c == '{' ? 1 : c == '}' ? -1 : 0;
    if (inside_ > 0) {
      return;
    }
    const int lines = line - opened_ + 1;
    if (counted_ && lines > kFunctionLinesMax) {
      findings_.push_back({"function_size", file_.path, opened_,
                           "a function of " + std::to_string(lines) + " lines; at most " +
                               std::to_string(kFunctionLinesMax)});
    }
    // A member initializer `x_{1}` is followed by the body: its head goes on.
    head_ = counted_ && InitializerList() ? "f() : " : "";
  }

  bool EndsWith(char c) const {
    const size_t last = head_.find_last_not_of(" \t");
    return last != std::string::npos && head_[last] == c;
  }
  bool InitializerList() const {
    static const auto* const list = new std::regex(R"(\)[^:]*[^:]:[^:].*[A-Za-z0-9_>]\s*$)");
    return std::regex_search(head_, *list);
  }
  bool IsBody() const {
    static const auto* const type = new std::regex(
        R"(^\s*(template\s*<.*>\s*)?(inline\s+)?(class|struct|union|enum|namespace|extern)\b.*)");
    if (EndsWith('=')) {
      return true;  // An initializer: skipped as a whole, not counted.
    }
    return head_.find(')') != std::string::npos && !std::regex_match(head_, *type);
  }

  const SourceFile& file_;
  std::vector<Finding> findings_;
  std::string head_;
  int inside_ = 0;
  int opened_ = 0;
  bool counted_ = false;
};

}  // namespace

std::string ToString(const Finding& finding) {
  std::ostringstream out;
  out << finding.path << ':' << finding.line << ": [" << finding.rule << "] " << finding.message;
  return out.str();
}

std::vector<Finding> CheckLines(const SourceFile& file) {
  std::vector<Finding> findings;
  for (const LineRule& rule : LineRules()) {
    if ((rule.headers_only && !file.IsHeader()) || (rule.layers_only && !InLayer(file))) {
      continue;
    }
    const std::regex pattern(rule.pattern);
    const std::vector<std::string>& lines = rule.prose ? file.lines : file.code;
    for (size_t i = 0; i < lines.size(); ++i) {
      if (std::regex_search(lines[i], pattern) && !Allowed(rule, file)) {
        findings.push_back({rule.name, file.path, static_cast<int>(i) + 1, rule.message});
      }
    }
  }
  return findings;
}

std::vector<Finding> CheckIncludes(const SourceFile& file) {
  std::vector<Finding> findings;
  std::string first;
  const std::string own = "millrace/" + file.path.substr(0, file.path.rfind('.')) + ".h";
  for (size_t i = 0; i < file.lines.size(); ++i) {
    const std::string included = Included(file.lines[i]);
    if (included.empty()) {
      continue;
    }
    const int line = static_cast<int>(i) + 1;
    first = first.empty() ? included : first;
    if (included == own && first != own) {
      findings.push_back({"own_header", file.path, line, "the first include is " + own});
    }
    for (const Door& door : kDoors) {
      if (Matches(included, door.pattern) && !Matches(file.path, door.allowed)) {
        findings.push_back({door.name, file.path, line, door.message});
      }
    }
    if (file.Folder() == "messages" && included.starts_with("millrace/storage/") &&
        std::find(kStorageValues.begin(), kStorageValues.end(), included) == kStorageValues.end()) {
      findings.push_back({"message_values", file.path, line,
                          included + " is not in the list of storage's value headers"});
    }
  }
  return findings;
}

std::vector<Finding> CheckFunctions(const SourceFile& file) {
  return FunctionFinder(file).Run();
}

std::vector<Finding> CheckFile(const SourceFile& file) {
  std::vector<Finding> findings;
  const size_t limit = file.IsHeader() ? kHeaderLinesMax : kSourceLinesMax;
  if (file.lines.size() > limit) {
    findings.push_back(
        {"file_size", file.path, 0,
         std::to_string(file.lines.size()) + " lines; at most " + std::to_string(limit)});
  }
  static const auto* const vague = new std::regex(
      R"((^|.*[/_.])(utils?|common|misc|helpers?|base|types|manager|context|handler)[/_.].*)");
  if (std::regex_match(file.path, *vague)) {
    findings.push_back({"name", file.path, 0, "name the one thing it defines"});
  }
  if (file.IsHeader() &&
      std::find(file.lines.begin(), file.lines.end(), "#pragma once") == file.lines.end()) {
    findings.push_back({"pragma_once", file.path, 1, "a header begins with #pragma once"});
  }
  return findings;
}

std::vector<Finding> CheckAll(const SourceFile& file) {
  std::vector<Finding> findings = CheckLines(file);
  Append(findings, CheckIncludes(file));
  Append(findings, CheckFunctions(file));
  Append(findings, CheckFile(file));
  return findings;
}

std::vector<Finding> CheckRegistered(const SourceFile& file, std::string_view lists) {
  const std::string name(file.FileName());
  for (size_t at = lists.find(name); at != std::string_view::npos; at = lists.find(name, at + 1)) {
    const char before = at == 0 ? ' ' : lists[at - 1];
    const char after = at + name.size() < lists.size() ? lists[at + name.size()] : ' ';
    if (std::isalnum(static_cast<unsigned char>(before)) == 0 && before != '_' &&
        (std::isspace(static_cast<unsigned char>(after)) != 0 || after == ')')) {
      return {};
    }
  }
  return {{"registered", file.path, 0, "no CMakeLists.txt names this file: it is not built"}};
}

std::vector<Finding> ApplyExceptions(std::vector<Finding> findings, std::string_view exceptions) {
  std::istringstream text{std::string(exceptions)};
  std::string line;
  for (int number = 1; std::getline(text, line); ++number) {
    std::istringstream words(line);
    std::string rule;
    std::string path;
    std::string reason;
    words >> rule >> path >> reason;
    if (rule.empty() || rule.starts_with('#')) {
      continue;
    }
    const size_t allowed = std::erase_if(findings, [&](const Finding& finding) {
      return finding.rule == rule && finding.path == path;
    });
    if (allowed == 0 || reason.empty()) {
      findings.push_back(
          {"exception", "tests/tidy/exceptions.txt", number,
           reason.empty() ? "no reason given" : "allows nothing any more: remove it"});
    }
  }
  return findings;
}

}  // namespace millrace::testing
