#pragma once

#include <cstddef>
#include <string_view>

namespace millrace {

// The type's name without its namespace, e.g. "Commit" or "Answer<millrace::Applied>".
template <typename M>
constexpr std::string_view TypeName() {
  const std::string_view function = __PRETTY_FUNCTION__;
  const size_t begin = function.find("M = ") + 4;
  const std::string_view name = function.substr(begin, function.find_first_of(";]", begin) - begin);
  const size_t arguments = name.find('<');
  const size_t scope = name.substr(0, arguments).rfind("::");
  return scope == std::string_view::npos ? name : name.substr(scope + 2);
}

}  // namespace millrace
