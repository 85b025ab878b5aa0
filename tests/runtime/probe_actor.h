#pragma once

#include <deque>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/strings/str_cat.h"

#include "millrace/runtime/actor.h"

namespace millrace {

// Messages of the probe.
struct Done {
  int value = 0;
};
struct Note {  // Written to the transcript.
  int value = 0;
};
struct Urgent {
  static constexpr bool kControl = true;
  int value = 0;
};
struct Blob {
  std::string bytes;
  size_t PayloadBytes() const { return bytes.size(); }
};
struct Echo {  // Answered with its value.
  using ReplyType = Done;
  int value = 0;
};
struct Hold {  // Its reply is kept until Release or OnStop.
  using ReplyType = Done;
};
struct Throw {
  using ReplyType = Done;
  bool claim_first = false;
};
struct Break {  // Calls Fail().
  std::string why;
};
struct Call {  // Runs on the actor's thread.
  absl::AnyInvocable<void()> what;
};

// An actor that writes down everything that is called of it. Owned by its thread; `transcript` is
// read when it is idle or has stopped.
class Probe final
    : public Actor<Probe, Note, Urgent, Blob, Echo, Hold, Throw, Break, Call, Answer<Done>> {
 public:
  explicit Probe(const ActorOptions& options) : Actor(options) {}

  std::vector<std::string> transcript;
  absl::Status start_status;
  bool ready_to_stop = true;
  absl::AnyInvocable<void()> on_start, on_stop, on_timer;
  std::vector<Reply<Done>> held;

  std::string TakeTranscript() {
    std::string text;
    for (const std::string& line : std::exchange(transcript, {})) {
      absl::StrAppend(&text, text.empty() ? "" : " ", line);
    }
    return text;
  }

  // The protected parts, for Call messages.
  using Actor::CancelTimer;
  using Actor::ReplyTo;
  using Actor::SetPeriodic;
  using Actor::SetTimer;

 private:
  friend Actor;
  void Handle(Note note) { transcript.push_back(absl::StrCat("note", note.value)); }
  void Handle(Urgent urgent) { transcript.push_back(absl::StrCat("urgent", urgent.value)); }
  void Handle(Blob blob) { transcript.push_back(absl::StrCat("blob", blob.bytes.size())); }
  void Handle(Echo echo, Reply<Done> reply) {
    transcript.push_back(absl::StrCat("echo", echo.value));
    reply.Send(Done{echo.value});
  }
  void Handle(Hold, Reply<Done> reply) {
    transcript.push_back("hold");
    held.push_back(std::move(reply));
  }
  void Handle(Throw message, Reply<Done> reply) {
    transcript.push_back("throw");
    if (message.claim_first) reply.Claim();
    throw std::runtime_error("boom");
  }
  void Handle(Break message) {
    transcript.push_back("break");
    Fail(absl::DataLossError(message.why));
  }
  void Handle(Call call) { call.what(); }
  void Handle(Answer<Done> answer) {
    transcript.push_back(
        absl::StrCat("answer", answer.request, "=",
                     answer.result.ok() ? absl::StrCat(answer.result->value)
                                        : absl::StatusCodeToString(answer.result.status().code())));
  }
  absl::Status OnStart() {
    transcript.push_back("start");
    if (on_start) on_start();
    return start_status;
  }
  void OnBatchEnd() { transcript.push_back("|"); }
  void OnTimer(TimerId id) {
    transcript.push_back(absl::StrCat("timer", id));
    if (on_timer) on_timer();
  }
  void OnDoorbell() { transcript.push_back("bell"); }
  void OnClosing() { transcript.push_back("closing"); }
  bool ReadyToStop() { return ready_to_stop; }
  void OnStop(StopReason reason) {
    transcript.push_back(reason == StopReason::kShutdown  ? "stop"
                         : reason == StopReason::kRestart ? "stop-restart"
                                                          : "stop-failed");
    if (on_stop) on_stop();
    held.clear();
  }
};

}  // namespace millrace
