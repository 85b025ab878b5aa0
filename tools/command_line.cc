#include "millrace/tools/command_line.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/str_cat.h"

#include "millrace/storage/row_key.h"

namespace millrace {
namespace {

using storage::ToAbsl;

const OptionSpec* FindOption(const VerbSpec& verb, std::string_view name) {
  const auto found = std::find_if(verb.options.begin(), verb.options.end(),
                                  [name](const OptionSpec& o) { return o.name == name; });
  return found == verb.options.end() ? nullptr : &*found;
}

std::string OptionWord(const OptionSpec& option) {
  std::string word = absl::StrCat("--", ToAbsl(option.name));
  if (!option.value_name.empty()) absl::StrAppend(&word, "=", ToAbsl(option.value_name));
  return word;
}

// Takes the option at words[*i], and its value from the word behind where it has none of its own.
absl::Status TakeOption(const VerbSpec& verb, absl::Span<const std::string_view> words, size_t* i,
                        Arguments* arguments) {
  const std::string_view word = words[*i].substr(2);
  const size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  const OptionSpec* const option = FindOption(verb, name);
  if (option == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown option --", ToAbsl(name), " of ", ToAbsl(verb.name)));
  }
  std::string_view value;
  if (equals != std::string_view::npos) {
    if (option->value_name.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("option --", ToAbsl(name), " takes no value"));
    }
    value = word.substr(equals + 1);
  } else if (!option->value_name.empty()) {
    if (*i + 1 == words.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("option ", OptionWord(*option), " needs a value"));
    }
    value = words[++*i];
  }
  if (!arguments->options.emplace(option->name, value).second) {
    return absl::InvalidArgumentError(absl::StrCat("option --", ToAbsl(name), " is given twice"));
  }
  return absl::OkStatus();
}

absl::Status CheckOperands(const VerbSpec& verb, const std::vector<std::string_view>& operands) {
  if (operands.size() < verb.operands.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        ToAbsl(verb.name), ": ", ToAbsl(verb.operands[operands.size()]), " is missing"));
  }
  const size_t operands_max = verb.operands.size() + verb.more_operands.size();
  if (operands.size() > operands_max) {
    return absl::InvalidArgumentError(absl::StrCat(
        ToAbsl(verb.name), ": '", ToAbsl(operands[operands_max]), "' is one argument too many"));
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<std::string_view> Arguments::Value(std::string_view option) const {
  const auto found = options.find(option);
  if (found == options.end()) return std::nullopt;
  return found->second;
}

absl::StatusOr<std::optional<uint64_t>> Arguments::Number(std::string_view option) const {
  const std::optional<std::string_view> text = Value(option);
  if (!text.has_value()) return std::optional<uint64_t>();
  uint64_t number = 0;
  const char* const end = text->data() + text->size();
  const auto result = std::from_chars(text->data(), end, number);
  if (result.ec != std::errc() || result.ptr != end) {
    return absl::InvalidArgumentError(
        absl::StrCat("--", ToAbsl(option), ": '", ToAbsl(*text), "' is not a number from 0"));
  }
  return std::optional<uint64_t>(number);
}

absl::StatusOr<Arguments> ParseArguments(const VerbSpec& verb,
                                         absl::Span<const std::string_view> words) {
  Arguments arguments;
  const auto options_end = std::find(words.begin(), words.end(), "--");
  if (std::find(words.begin(), options_end, "--help") != options_end) {
    arguments.help = true;
    return arguments;
  }
  bool only_operands = false;
  for (size_t i = 0; i < words.size(); ++i) {
    if (only_operands || words[i].substr(0, 2) != "--") {
      arguments.operands.push_back(words[i]);
    } else if (words[i] == "--") {
      only_operands = true;
    } else if (absl::Status s = TakeOption(verb, words, &i, &arguments); !s.ok()) {
      return s;
    }
  }
  if (absl::Status s = CheckOperands(verb, arguments.operands); !s.ok()) return s;
  return arguments;
}

std::string UsageLine(const VerbSpec& verb) {
  std::string line = absl::StrCat("millrace ", ToAbsl(verb.name));
  for (const std::string_view operand : verb.operands) absl::StrAppend(&line, " ", ToAbsl(operand));
  for (const std::string_view operand : verb.more_operands) {
    absl::StrAppend(&line, " [", ToAbsl(operand));
  }
  line.append(verb.more_operands.size(), ']');
  for (const OptionSpec& option : verb.options) {
    absl::StrAppend(&line, " [", OptionWord(option), "]");
  }
  return line;
}

std::string HelpText(const VerbSpec& verb) {
  std::string text = absl::StrCat("usage: ", UsageLine(verb), "\n\n", ToAbsl(verb.summary), "\n");
  if (!verb.details.empty()) absl::StrAppend(&text, "\n", ToAbsl(verb.details), "\n");
  absl::StrAppend(&text, "\noptions (--x=y or --x y):\n");
  const auto append = [&text](const std::string& word, std::string_view help) {
    absl::StrAppend(&text, "  ", word, std::string(word.size() < 24 ? 24 - word.size() : 1, ' '),
                    ToAbsl(help), "\n");
  };
  for (const OptionSpec& option : verb.options) append(OptionWord(option), option.help);
  append("--help", "print this and exit");
  return text;
}

}  // namespace millrace
