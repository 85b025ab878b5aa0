// The commit log: a file of any bytes, also behind good checksums, is read or refused.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "tests/testing/power_loss_file_system.h"

#include "millrace/storage/log_format.h"
#include "millrace/storage/log_survey.h"
#include "millrace/storage/logged_batch.h"

using namespace millrace::storage;  // NOLINT

namespace {

// As the committer would have written it: the input is cut into batches of one group.
std::string Sealed(std::string_view input) {
  LogGroup group;
  std::string record(kGroupHeaderBytes, '\0');
  uint32_t count = 0;
  while (!input.empty()) {
    const auto length = static_cast<uint32_t>(
        std::min<size_t>(input.size() - 1, static_cast<uint8_t>(input.front())));
    record.append(reinterpret_cast<const char*>(&length), sizeof(length));
    record.append(input.substr(1, length));
    input.remove_prefix(1 + length);
    ++count;
  }
  SealGroup({.length = static_cast<uint32_t>(record.size()),
             .batch_count = count,
             .file_number = 1,
             .first_version = 1},
            record.data());
  return record;
}

void Read(std::string contents) {
  contents.resize(std::max<size_t>(contents.size() + kEndMarkBytes, kLogFileBytesMin));
  millrace::testing::PowerLossFileSystem files;
  FUZZ_CHECK(files.CreateDirectory("/log").ok());
  files.SetContents("/log/" + LogFileName(1), std::move(contents));
  LogReport report;
  Version last = 0;
  const auto take = [&](const LoggedBatch& batch) {
    FUZZ_CHECK(last == 0 || batch.version == last + 1);
    last = batch.version;
    std::vector<L0Row> rows;
    CommitToken token;
    return ReadLoggedBatch(batch.effects, batch.version, &rows, &token);
  };
  const std::string directory = "/log";
  LogSurvey survey(files, directory, {}, take, report);
  survey.Run().IgnoreError();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  Read(std::string(input));
  Read(Sealed(input));
  return 0;
}
