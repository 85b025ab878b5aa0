#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "absl/status/status.h"

namespace millrace::storage {

static_assert(std::endian::native == std::endian::little, "FlexBuffers are little endian");

// The types that a document's bytes use; the numbers are FlexBuffers' own. Typed vectors, blobs and
// indirect numbers are not among them: Document never writes them.
enum class FlexType : uint8_t {
  kNull = 0,
  kInt = 1,
  kUint = 2,
  kDouble = 3,
  kString = 5,
  kObject = 9,
  kArray = 10,
  kBool = 26,
};

// One value inside the bytes of a document. Unlike FlatBuffers' own Reference it reads unaligned
// memory (a row in LMDB is aligned to two bytes) and names that no NUL follows. It trusts the
// bytes: check hostile ones with CheckFlexBytes first. Value; views into the bytes.
class FlexValue {
 public:
  // The outermost value of the bytes of a document, which are never empty.
  static FlexValue Root(std::string_view bytes) {
    const auto* end = reinterpret_cast<const uint8_t*>(bytes.data() + bytes.size());
    return FlexValue(end - 2 - end[-1], end[-1], end[-2]);
  }

  FlexType type() const { return static_cast<FlexType>(packed_type_ >> 2); }

  bool AsBool() const { return Read(slot_, slot_width_) != 0; }
  int64_t AsInt() const {
    const int unused_bits = 64 - 8 * slot_width_;
    return static_cast<int64_t>(Read(slot_, slot_width_) << unused_bits) >> unused_bits;
  }
  uint64_t AsUint() const { return Read(slot_, slot_width_); }
  double AsDouble() const {
    if (slot_width_ == 4) {
      return std::bit_cast<float>(static_cast<uint32_t>(Read(slot_, slot_width_)));
    }
    return std::bit_cast<double>(Read(slot_, slot_width_));
  }
  std::string_view AsString() const {
    const uint8_t* const text = Target();
    return {reinterpret_cast<const char*>(text), Read(text - width(), width())};
  }

  // Of objects and arrays. Members are sorted by name.
  size_t size() const {
    const uint8_t* const elements = Target();
    return Read(elements - width(), width());
  }
  FlexValue At(size_t i) const {
    const uint8_t* const elements = Target();
    const uint64_t size = Read(elements - width(), width());
    return FlexValue(elements + i * width(), width(), elements[size * width() + i]);
  }
  std::string_view NameAt(size_t i) const {
    const uint8_t* const keys_slot = Target() - size_t{3} * width();
    const uint8_t* const keys = keys_slot - Read(keys_slot, width());
    const auto key_width = static_cast<uint8_t>(Read(keys_slot + width(), width()));
    const uint8_t* const key_slot = keys + i * key_width;
    return reinterpret_cast<const char*>(key_slot - Read(key_slot, key_width));
  }
  // The member of that name of an object.
  std::optional<FlexValue> Find(std::string_view name) const;

 private:
  FlexValue(const uint8_t* slot, uint8_t slot_width, uint8_t packed_type)
      : slot_(slot), slot_width_(slot_width), packed_type_(packed_type) {}

  static uint64_t Read(const uint8_t* data, uint8_t width) {
    switch (width) {
      case 1:
        return *data;
      case 2:
        return ReadAs<uint16_t>(data);
      case 4:
        return ReadAs<uint32_t>(data);
      default:
        return ReadAs<uint64_t>(data);
    }
  }
  template <typename T>
  static uint64_t ReadAs(const uint8_t* data) {
    T value;
    std::memcpy(&value, data, sizeof(value));
    return value;
  }

  uint8_t width() const { return static_cast<uint8_t>(1 << (packed_type_ & 3)); }
  const uint8_t* Target() const { return slot_ - Read(slot_, slot_width_); }

  const uint8_t* slot_;  // The value itself, or the distance back to it.
  uint8_t slot_width_;
  uint8_t packed_type_;  // Type, and in the lower two bits the width of what the slot points to.
};

// Whether every read of FlexValue stays inside `bytes`, and all of them is a document: types,
// sorted unique names, UTF-8, finite doubles, depth, nothing shared (so a walk is linear).
// InvalidArgument naming the fault and its offset.
absl::Status CheckFlexBytes(std::string_view bytes);

}  // namespace millrace::storage
