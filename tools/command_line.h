#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace millrace {

// An option that a verb takes. Value.
struct OptionSpec {
  std::string_view name;        // Without the dashes.
  std::string_view value_name;  // Empty: a flag, which takes no value.
  std::string_view help;
};

// What a verb takes. Every verb also takes --help. Value.
struct VerbSpec {
  std::string_view name;
  std::vector<std::string_view> operands;  // All are required.
  std::string_view summary;                // One line.
  std::string_view details;                // More lines for --help, or empty.
  std::vector<OptionSpec> options;
  std::vector<std::string_view> more_operands;  // May follow, the first of them first.
};

// The words behind a verb, told apart. Value; views into the words.
struct Arguments {
  bool help = false;  // --help was among them; nothing else was checked.
  std::vector<std::string_view> operands;
  std::map<std::string_view, std::string_view> options;

  bool Has(std::string_view option) const { return options.count(option) != 0; }
  std::optional<std::string_view> Value(std::string_view option) const;
  // InvalidArgument unless the option is absent or a decimal number.
  absl::StatusOr<std::optional<uint64_t>> Number(std::string_view option) const;
};

// Options are `--x=y` and `--x y`, anywhere; behind `--` every word is an operand, and so is each
// that begins with one dash or none. InvalidArgument naming the word that is wrong.
absl::StatusOr<Arguments> ParseArguments(const VerbSpec& verb,
                                         absl::Span<const std::string_view> words);

// "millrace get STORE COLLECTION ID [--option=VALUE]", one line.
std::string UsageLine(const VerbSpec& verb);
// The text of --help.
std::string HelpText(const VerbSpec& verb);

}  // namespace millrace
