#include "millrace/storage/index_build.h"

#include <array>

namespace millrace::storage {
namespace {

constexpr std::array<std::string_view, 4> kSourceNames = {"", "instances", "participation", "scan"};
constexpr std::array<std::string_view, 4> kPolicyNames = {"", "fail", "keep-live", "lowest-id"};
constexpr std::array<std::string_view, 5> kReasonNames = {"", "request", "definition", "growth",
                                                          "age"};

}  // namespace

std::string_view ToString(BuildSource source) {
  return kSourceNames[static_cast<size_t>(source)];
}
std::string_view ToString(DuplicatePolicy policy) {
  return kPolicyNames[static_cast<size_t>(policy)];
}
std::string_view ToString(BuildReason reason) {
  return kReasonNames[static_cast<size_t>(reason)];
}

}  // namespace millrace::storage
