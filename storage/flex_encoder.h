#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "flatbuffers/flexbuffers.h"

#include "millrace/storage/flex_value.h"

namespace millrace::storage {

// How FlatBuffers' Builder is used for documents. The bytes of a value are a function of the value:
// members in the order of their names, nothing shared, no typed vectors. Thread-compatible.
class FlexEncoder {
 public:
  FlexEncoder();

  // This thread's own, cleared. Valid until the thread asks again.
  static FlexEncoder& OfThisThread();

  flexbuffers::Builder& builder() { return builder_; }

  // Unlike Builder's own, these need no NUL behind `text`.
  void Key(std::string_view text);
  void String(std::string_view text);

  void Copy(FlexValue value);
  // The member `i` of an object: name and value.
  void CopyMember(FlexValue object, size_t i);

  // The encoded bytes; the encoder is empty again. InvalidArgument if there are too many.
  absl::StatusOr<std::string> Finish();
  absl::Status CheckSize() const;

 private:
  flexbuffers::Builder builder_;
  std::string terminated_;
};

}  // namespace millrace::storage
