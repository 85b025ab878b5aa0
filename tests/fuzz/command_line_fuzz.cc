// The command line: words of any bytes, one a line, are told apart or refused.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz.h"

#include "millrace/tools/command_line.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& verb = *new millrace::VerbSpec{
      .name = "import",
      .operands = {"STORE", "FILE"},
      .options = {{"format", "FORMAT", ""}, {"limit", "N", ""}, {"json", "", ""}}};
  std::string_view input(reinterpret_cast<const char*>(data), size);
  std::vector<std::string_view> words;
  while (!input.empty()) {
    const size_t end = input.find('\n');
    words.push_back(input.substr(0, end));
    input.remove_prefix(end == std::string_view::npos ? input.size() : end + 1);
  }
  const absl::StatusOr<millrace::Arguments> arguments = millrace::ParseArguments(verb, words);
  if (!arguments.ok() || arguments->help) return 0;
  FUZZ_CHECK(arguments->operands.size() == verb.operands.size());
  arguments->Number("limit").status().IgnoreError();
  return 0;
}
