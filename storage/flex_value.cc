#include "millrace/storage/flex_value.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "simdjson.h"

#include "millrace/storage/document.h"

namespace millrace::storage {
namespace {

// Walks bytes that nobody vouches for. Offsets are checked before anything is read through them.
class FlexChecker {
 public:
  explicit FlexChecker(std::string_view bytes)
      : data_(reinterpret_cast<const uint8_t*>(bytes.data())), size_(bytes.size()) {}

  absl::Status Check() {
    if (size_ > kDocumentBytesMax) return Fault("more than 1 MiB", size_);
    if (size_ < 3) return Fault("too short", size_);
    const uint8_t width = data_[size_ - 1];
    if (!IsWidth(width) || width > size_ - 2) return Fault("no root", size_ - 1);
    const uint8_t packed_type = data_[size_ - 2];
    if (static_cast<FlexType>(packed_type >> 2) != FlexType::kObject) {
      return Fault("the top level is not an object", size_ - 2);
    }
    return CheckNested({size_ - 2 - width, width, packed_type}, 1);
  }

 private:
  // A slot whose own bytes are inside the buffer.
  struct Slot {
    uint64_t offset;
    uint8_t width;
    uint8_t packed_type;
  };

  static bool IsWidth(uint64_t width) {
    return width == 1 || width == 2 || width == 4 || width == 8;
  }

  static absl::Status Fault(absl::string_view what, uint64_t offset) {
    return absl::InvalidArgumentError(
        absl::StrCat("document bytes: ", what, ", at offset ", offset));
  }

  uint64_t Read(uint64_t offset, uint8_t width) const {
    uint64_t value = 0;
    std::memcpy(&value, data_ + offset, width);
    return value;
  }

  // Follows the distance in a slot. False if it leaves the buffer.
  bool Follow(uint64_t slot, uint8_t width, uint64_t* target) const {
    const uint64_t distance = Read(slot, width);
    if (distance > slot) return false;
    *target = slot - distance;
    return true;
  }

  // A document shares nothing, so all its parts together cannot be longer than the whole.
  bool Spend(uint64_t cost) {
    spent_ += cost;
    return spent_ <= size_;
  }

  absl::Status CheckValue(Slot slot, int depth) {
    if (!Spend(1)) return Fault("shared values", slot.offset);
    switch (static_cast<FlexType>(slot.packed_type >> 2)) {
      case FlexType::kNull:
      case FlexType::kInt:
      case FlexType::kUint:
        return absl::OkStatus();
      case FlexType::kBool:
        if (Read(slot.offset, slot.width) > 1) return Fault("a damaged boolean", slot.offset);
        return absl::OkStatus();
      case FlexType::kDouble:
        return CheckDouble(slot);
      case FlexType::kString:
        return CheckString(slot);
      case FlexType::kObject:
      case FlexType::kArray:
        return CheckNested(slot, depth + 1);
    }
    return Fault("an unknown type", slot.offset);
  }

  absl::Status CheckDouble(Slot slot) const {
    double value = 0;
    if (slot.width == 8) {
      std::memcpy(&value, data_ + slot.offset, 8);
    } else if (slot.width == 4) {
      float narrow;
      std::memcpy(&narrow, data_ + slot.offset, 4);
      value = narrow;
    } else {
      return Fault("a double of an impossible width", slot.offset);
    }
    if (!std::isfinite(value)) return Fault("a double that is not finite", slot.offset);
    return absl::OkStatus();
  }

  absl::Status CheckString(Slot slot) {
    const auto width = static_cast<uint8_t>(1 << (slot.packed_type & 3));
    uint64_t text;
    if (!Follow(slot.offset, slot.width, &text) || text < width) {
      return Fault("a string outside", slot.offset);
    }
    const uint64_t length = Read(text - width, width);
    if (length >= size_ - text || data_[text + length] != 0) {
      return Fault("a string without end", slot.offset);
    }
    if (!Spend(length)) return Fault("shared strings", slot.offset);
    if (!IsUtf8(text, length)) return Fault("a string that is not valid UTF-8", text);
    return absl::OkStatus();
  }

  bool IsUtf8(uint64_t offset, uint64_t length) const {
    return simdjson::validate_utf8(reinterpret_cast<const char*>(data_ + offset), length);
  }

  absl::Status CheckNested(Slot slot, int depth) {
    if (depth > kDocumentDepthMax) return Fault("nested too deeply", slot.offset);
    const bool is_object = static_cast<FlexType>(slot.packed_type >> 2) == FlexType::kObject;
    const auto width = static_cast<uint8_t>(1 << (slot.packed_type & 3));
    uint64_t elements;
    if (!Follow(slot.offset, slot.width, &elements) ||
        elements < static_cast<uint64_t>(is_object ? 3 : 1) * width) {
      return Fault("an object or array outside", slot.offset);
    }
    const uint64_t count = Read(elements - width, width);
    if (count > size_ || count * width + count > size_ - elements) {
      return Fault("an object or array without end", slot.offset);
    }
    if (is_object) {
      if (absl::Status s = CheckNames(elements - uint64_t{3} * width, width, count); !s.ok())
        return s;
    }
    const uint64_t types = elements + count * width;
    for (uint64_t i = 0; i < count; ++i) {
      absl::Status s = CheckValue({elements + i * width, width, data_[types + i]}, depth);
      if (!s.ok()) return s;
    }
    return absl::OkStatus();
  }

  absl::Status CheckNames(uint64_t keys_slot, uint8_t width, uint64_t count) {
    uint64_t keys;
    const uint64_t wide_key_width = Read(keys_slot + width, width);
    if (!IsWidth(wide_key_width)) return Fault("names of an impossible width", keys_slot);
    const auto key_width = static_cast<uint8_t>(wide_key_width);
    if (!Follow(keys_slot, width, &keys) || keys < key_width ||
        Read(keys - key_width, key_width) != count || count * key_width > size_ - keys) {
      return Fault("names outside", keys_slot);
    }
    std::string_view previous;
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t name_offset;
      if (!Follow(keys + i * key_width, key_width, &name_offset)) {
        return Fault("a name outside", keys);
      }
      const void* const end = std::memchr(data_ + name_offset, 0, size_ - name_offset);
      if (end == nullptr) return Fault("a name without end", name_offset);
      const auto* const text = reinterpret_cast<const char*>(data_ + name_offset);
      const std::string_view name(text, static_cast<const char*>(end) - text);
      if (!Spend(name.size() + 1)) return Fault("shared names", name_offset);
      if (!IsUtf8(name_offset, name.size())) return Fault("a name in invalid UTF-8", name_offset);
      if (i > 0 && name <= previous) return Fault("names out of order", name_offset);
      previous = name;
    }
    return absl::OkStatus();
  }

  const uint8_t* const data_;
  const uint64_t size_;
  uint64_t spent_ = 0;
};

}  // namespace

std::optional<FlexValue> FlexValue::Find(std::string_view name) const {
  size_t low = 0;
  size_t high = size();
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    const int order = NameAt(middle).compare(name);
    if (order == 0) return At(middle);
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return std::nullopt;
}

absl::Status CheckFlexBytes(std::string_view bytes) {
  return FlexChecker(bytes).Check();
}

}  // namespace millrace::storage
