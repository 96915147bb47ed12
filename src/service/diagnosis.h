// Why a volume is not what its file asks for, and what helps: the reason codes of replica/reason.h in words, each with
// a command. docs/volumes.md, "When something went wrong", has them code by code.
#pragma once

#include <string>
#include <vector>

#include "replica/reason.h"
#include "service/view.h"

namespace resilver::service {

struct Told {
  replica::Reason reason = replica::Reason::starting;
  std::string node;     // whom it is about; of the arbiter: who says so
  std::string text;     // what is so, one line
  std::string help;     // what to do, in a few words; never empty
  std::string command;  // ... as a command line; empty where none of ours does it
};

// One line for people: "HELP: COMMAND".
std::string to_do(const Told& told);

// What a node found, in words. `at` is its place in the file.
Told tell(const VolumeConfig& config, replica::NodeId at, const replica::Finding& finding);

// All that is to be told of the volume, the most pressing first, each once. Whenever the volume does not serve, a copy
// is not in sync, or it is less redundant than its file asks for, it is not empty.
std::vector<Told> diagnose(const VolumeConfig& config, const VolumeView& view);

}  // namespace resilver::service
