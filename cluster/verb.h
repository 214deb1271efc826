// The verbs of the `emporium` command: one entry a verb, each with its own flags and help.
// Main thread only.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace emporium::cluster {

// Exit codes of every verb.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;       // the work failed; the message says why
inline constexpr int kExitUsage = 2;        // wrong flags, wrong job file, wrong arguments
inline constexpr int kExitInterrupted = 3;  // stopped by the user; the message says how to go on

struct Verb {
  std::string name;
  std::string arguments;           // "JOB [--data DIR]", for the usage line
  std::string summary;             // one line
  std::vector<std::string> flags;  // gflags that this verb takes
  size_t min_arguments = 0;
  size_t max_arguments = 0;
  std::function<int(const std::vector<std::string>& arguments)> run;
  bool hidden = false;  // started by `launch`, not by people
};

// The verbs of each file in cluster/verbs/.
std::vector<Verb> JobVerbs();      // run, launch, check, models
std::vector<Verb> NodeVerbs();     // scheduler, server, worker
std::vector<Verb> InspectVerbs();  // status, checkpoint
std::vector<Verb> DataVerbs();     // convert, generate
std::vector<Verb> ServeVerbs();    // export, query

// Finds the verb, checks its flags and arguments, runs it. Returns the exit code.
int Dispatch(int argc, char** argv);

// Prints "emporium: message" to stderr and returns `code`.
int Fail(int code, const std::string& message);

}  // namespace emporium::cluster
