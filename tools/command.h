#pragma once

#include <string_view>

#include "absl/types/span.h"

#include "millrace/tools/command_line.h"
#include "millrace/tools/console.h"
#include "millrace/tools/exit_code.h"

namespace millrace {

// Runs the command with the words behind its name: finds the verb, reads its arguments, does it.
ExitCode RunCommand(absl::Span<const std::string_view> words, Console& console);

}  // namespace millrace
