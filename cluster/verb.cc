#include "cluster/verb.h"

#include <gflags/gflags.h>

#include <algorithm>
#include <cstdio>
#include <set>

DECLARE_bool(help);
DECLARE_bool(version);

namespace emporium::cluster {
namespace {

constexpr const char* kVersion = "0.1.0";

std::vector<Verb> AllVerbs() {
  std::vector<Verb> all;
  for (auto* group : {&JobVerbs, &InspectVerbs, &DataVerbs, &ServeVerbs, &NodeVerbs}) {
    for (Verb& verb : (*group)()) all.push_back(std::move(verb));
  }
  return all;
}

void PrintUsage(const std::vector<Verb>& verbs) {
  std::printf("emporium %s: trains recommendation models on sharded parameter servers\n\n",
              kVersion);
  std::printf("usage: emporium VERB [ARGUMENT...] [--FLAG=VALUE...]\n\n");
  for (const Verb& verb : verbs) {
    if (!verb.hidden) std::printf("  %-11s %s\n", verb.name.c_str(), verb.summary.c_str());
  }
  std::printf("\n`emporium VERB --help` tells a verb's arguments and flags.\n");
}

void PrintHelp(const Verb& verb) {
  std::printf("usage: emporium %s %s\n\n%s\n", verb.name.c_str(), verb.arguments.c_str(),
              verb.summary.c_str());
  if (!verb.flags.empty()) std::printf("\nflags:\n");
  for (const std::string& name : verb.flags) {
    gflags::CommandLineFlagInfo info = gflags::GetCommandLineFlagInfoOrDie(name.c_str());
    std::printf("  --%-20s %s (default %s)\n", name.c_str(), info.description.c_str(),
                info.default_value.empty() ? "none" : info.default_value.c_str());
  }
}

struct FlagWord {
  std::string name;      // as it is declared; empty: not a flag of the verb
  bool negated = false;  // "--noname"
};

// What a "--name", "--name=value" or "--noname" argument names.
FlagWord ReadFlagWord(const std::string& argument, const Verb& verb) {
  std::string name = argument.substr(argument[1] == '-' ? 2 : 1);
  name = name.substr(0, name.find('='));
  std::replace(name.begin(), name.end(), '-', '_');
  const auto known = [&](const std::string& n) {
    return n == "help" || n == "version" ||
           std::find(verb.flags.begin(), verb.flags.end(), n) != verb.flags.end();
  };
  if (known(name)) return {name, false};
  if (name.starts_with("no") && known(name.substr(2))) return {name.substr(2), true};
  return {};
}

// Sets the flags among `words` and returns the arguments that are none; an error message otherwise.
std::string ParseFlags(const Verb& verb, const std::vector<std::string>& words,
                       std::vector<std::string>* arguments) {
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.size() < 2 || word[0] != '-') {
      arguments->push_back(word);
      continue;
    }
    const auto [name, negated] = ReadFlagWord(word, verb);
    if (name.empty()) {
      return "unknown flag " + word + " for `" + verb.name + "`; see `emporium " + verb.name +
             " --help`";
    }
    gflags::CommandLineFlagInfo info = gflags::GetCommandLineFlagInfoOrDie(name.c_str());
    std::string value;
    if (const size_t equals = word.find('='); equals != std::string::npos) {
      value = word.substr(equals + 1);
    } else if (info.type == "bool") {
      value = negated ? "false" : "true";
    } else if (i + 1 < words.size()) {
      value = words[++i];
    } else {
      return "flag --" + name + " needs a value";
    }
    if (gflags::SetCommandLineOption(name.c_str(), value.c_str()).empty()) {
      return "flag --" + name + " does not take the value \"" + value + "\" (" + info.type + ")";
    }
  }
  return "";
}

}  // namespace

int Fail(int code, const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "emporium: %s\n", message.c_str());
  return code;
}

int Dispatch(int argc, char** argv) {
  const std::vector<Verb> verbs = AllVerbs();
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    PrintUsage(verbs);
    return words.empty() ? kExitUsage : kExitOk;
  }
  if (words[0] == "--version") {
    std::printf("emporium %s\n", kVersion);
    return kExitOk;
  }
  const auto verb =
      std::find_if(verbs.begin(), verbs.end(), [&](const Verb& v) { return v.name == words[0]; });
  if (verb == verbs.end()) {
    return Fail(kExitUsage, "unknown verb \"" + words[0] + "\"; `emporium --help` lists them");
  }
  words.erase(words.begin());
  std::vector<std::string> arguments;
  if (const std::string error = ParseFlags(*verb, words, &arguments); !error.empty()) {
    return Fail(kExitUsage, error);
  }
  if (FLAGS_help) {
    PrintHelp(*verb);
    return kExitOk;
  }
  if (FLAGS_version) {
    std::printf("emporium %s\n", kVersion);
    return kExitOk;
  }
  if (arguments.size() < verb->min_arguments || arguments.size() > verb->max_arguments) {
    return Fail(kExitUsage, "usage: emporium " + verb->name + " " + verb->arguments);
  }
  return verb->run(arguments);
}

}  // namespace emporium::cluster
