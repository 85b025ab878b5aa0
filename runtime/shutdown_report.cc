#include "millrace/runtime/shutdown_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace millrace {

bool ShutdownReport::Balanced() const {
  return std::all_of(actors.begin(), actors.end(),
                     [](const ActorReport& actor) { return actor.Balanced(); });
}

const ActorReport* ShutdownReport::Find(const std::string& name) const {
  const auto it = std::find_if(actors.begin(), actors.end(),
                               [&](const ActorReport& actor) { return actor.name == name; });
  return it == actors.end() ? nullptr : &*it;
}

std::string ShutdownReport::ToString() const {
  std::string text = absl::StrCat("stopped in ", absl::FormatDuration(elapsed),
                                  within_deadline ? "" : ", later than the deadline", "\n");
  for (const ActorReport& actor : actors) {
    absl::StrAppend(&text, actor.name, ": accepted ", actor.accepted, " = handled ", actor.handled,
                    " + discarded ", actor.discarded, " + expired ", actor.expired);
    const char* separator = " (";
    for (const MessageCounts& message : actor.messages) {
      if (message.discarded == 0) continue;
      absl::StrAppend(&text, separator, message.discarded, " ", std::string(message.name),
                      " discarded");
      separator = ", ";
    }
    if (actor.discarded > 0) absl::StrAppend(&text, ")");
    absl::StrAppend(&text, ", rejected after close ", actor.rejected_after_close, ", restarts ",
                    actor.restarts, ", drained in ", absl::FormatDuration(actor.drain_time));
    if (!actor.last_error.ok())
      absl::StrAppend(&text, ", last error ", actor.last_error.ToString());
    absl::StrAppend(&text, actor.Balanced() ? "\n" : " (UNBALANCED)\n");
  }
  return text;
}

}  // namespace millrace
