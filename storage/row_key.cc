#include "millrace/storage/row_key.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "simdjson.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kOneByteMax = 240;
constexpr uint64_t kTwoByteMax = 2287;
constexpr uint64_t kThreeByteMax = 67823;

}  // namespace

// First byte: up to 240 the value itself; 241-248 and a second byte; 249 and two bytes; 250-255 and
// three to eight bytes, big endian. A longer encoding always begins with a larger byte.
void AppendOrderedInteger(uint64_t value, std::string* out) {
  if (value <= kOneByteMax) {
    out->push_back(static_cast<char>(value));
    return;
  }
  if (value <= kTwoByteMax) {
    const uint64_t rest = value - kOneByteMax;
    out->push_back(static_cast<char>(241 + rest / 256));
    out->push_back(static_cast<char>(rest % 256));
    return;
  }
  if (value <= kThreeByteMax) {
    const uint64_t rest = value - kTwoByteMax - 1;
    out->push_back(static_cast<char>(249));
    out->push_back(static_cast<char>(rest / 256));
    out->push_back(static_cast<char>(rest % 256));
    return;
  }
  int bytes = 3;
  while (bytes < 8 && (value >> (8 * bytes)) != 0) ++bytes;
  out->push_back(static_cast<char>(247 + bytes));
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

bool ConsumeOrderedInteger(std::string_view* in, uint64_t* value) {
  if (in->empty()) return false;
  const auto byte = [in](size_t i) {
    return static_cast<uint64_t>(static_cast<uint8_t>((*in)[i]));
  };
  const uint64_t first = byte(0);
  if (first <= kOneByteMax) {
    *value = first;
    in->remove_prefix(1);
    return true;
  }
  const size_t rest_size = first <= 248 ? 1 : (first == 249 ? 2 : first - 247);
  if (in->size() < 1 + rest_size) return false;
  uint64_t rest = 0;
  for (size_t i = 1; i <= rest_size; ++i) rest = rest << 8 | byte(i);
  if (first <= 248) {
    *value = kOneByteMax + 256 * (first - 241) + rest;
  } else if (first == 249) {
    *value = kTwoByteMax + 1 + rest;
  } else {
    *value = rest;
  }
  in->remove_prefix(1 + rest_size);
  return true;
}

std::string EncodeRowKey(const RowKey& key) {
  std::string out;
  out.reserve(8 + key.id.size());
  out.push_back(static_cast<char>(key.tree));
  AppendOrderedInteger(key.branch, &out);
  AppendOrderedInteger(key.collection, &out);
  out.append(key.id);
  return out;
}

std::string EncodeCollectionPrefix(Tree tree, BranchId branch, CollectionId collection) {
  return EncodeRowKey({.tree = tree, .branch = branch, .collection = collection});
}

std::string PrefixSuccessor(std::string_view prefix) {
  std::string out(prefix);
  while (!out.empty() && static_cast<uint8_t>(out.back()) == 0xff) out.pop_back();
  if (!out.empty()) out.back() = static_cast<char>(static_cast<uint8_t>(out.back()) + 1);
  return out;
}

absl::StatusOr<RowKey> DecodeRowKey(std::string_view encoded) {
  RowKey key;
  std::string_view rest = encoded;
  const auto damaged = [&] {
    return absl::DataLossError(
        absl::StrCat("row key ", absl::BytesToHexString(ToAbsl(encoded)), " is damaged"));
  };
  if (rest.empty()) return damaged();
  key.tree = static_cast<Tree>(rest.front());
  if (key.tree < Tree::kCatalog || key.tree > Tree::kCandidates) return damaged();
  rest.remove_prefix(1);
  if (!ConsumeOrderedInteger(&rest, &key.branch)) return damaged();
  if (!ConsumeOrderedInteger(&rest, &key.collection)) return damaged();
  key.id = rest;
  return key;
}

absl::Status CheckId(std::string_view id) {
  if (id.empty()) return absl::InvalidArgumentError("the id is empty; an id has 1 to 255 bytes");
  if (id.size() > kIdBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("the id '", ToAbsl(id.substr(0, 32)),
                                                   "...' has ", id.size(),
                                                   " bytes; an id has 1 to 255"));
  }
  if (!simdjson::validate_utf8(id.data(), id.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the id '", absl::CHexEscape(ToAbsl(id)), "' is not valid UTF-8"));
  }
  return absl::OkStatus();
}

}  // namespace millrace::storage
