#pragma once

#include "millrace/tools/command_line.h"
#include "millrace/tools/console.h"
#include "millrace/tools/exit_code.h"

namespace millrace {

// The verbs of the command. Each takes the arguments that its VerbSpec in command.cc allows, prints
// data and complaints, and returns the exit code. To be called on the main thread.
ExitCode RunImport(const Arguments& arguments, Console& console);
ExitCode RunGet(const Arguments& arguments, Console& console);
ExitCode RunPut(const Arguments& arguments, Console& console);
ExitCode RunDelete(const Arguments& arguments, Console& console);
ExitCode RunScan(const Arguments& arguments, Console& console);
ExitCode RunCount(const Arguments& arguments, Console& console);
ExitCode RunStat(const Arguments& arguments, Console& console);
ExitCode RunIndexCreate(const Arguments& arguments, Console& console);
ExitCode RunIndexList(const Arguments& arguments, Console& console);
ExitCode RunIndexRebuild(const Arguments& arguments, Console& console);
ExitCode RunIndexAudit(const Arguments& arguments, Console& console);
ExitCode RunIndexDrop(const Arguments& arguments, Console& console);
ExitCode RunFind(const Arguments& arguments, Console& console);
ExitCode RunLink(const Arguments& arguments, Console& console);
ExitCode RunUnlink(const Arguments& arguments, Console& console);
ExitCode RunDescribe(const Arguments& arguments, Console& console);
ExitCode RunMembers(const Arguments& arguments, Console& console);
ExitCode RunVerify(const Arguments& arguments, Console& console);

}  // namespace millrace
