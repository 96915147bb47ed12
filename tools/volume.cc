#include "tools/volume.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "tools/array_command.h"

namespace resilver::tools {
namespace {

struct Verb {
  std::string_view name;
  int (*run)(int argc, char** argv);
  std::string_view meaning;
};

constexpr std::array<Verb, 14> kVerbs = {{
    {"create", volume_create_main, "make the nodes' images and format their metadata"},
    {"status", volume_status_main, "the state of the volume and of every node"},
    {"attach", volume_attach_main, "be the volume's client: import, export, or load it and judge every answer"},
    {"promote", volume_promote_main, "make a node the primary"},
    {"demote", volume_demote_main, "let the primary hand over"},
    {"ack", volume_ack_main, "change when a write is acknowledged"},
    {"verify", volume_verify_main, "compare the copies while they are used"},
    {"resync", volume_resync_main, "bring a node's copy up to date from the primary"},
    {"resolve", volume_resolve_main, "end a split brain: discard one side"},
    {"recover", volume_recover_main, "go on from the newest copy, where the arbiter's record is lost or old"},
    {"grow", volume_grow_main, "make the volume larger, offline"},
    {"adopt", volume_adopt_main, "a copy's disk was put into another node, offline"},
    {"reid", volume_reid_main, "make a volume of its own out of a cloned cluster, offline"},
    {"upgrade", volume_upgrade_main, "bring a volume over that an older resilver made, offline"},
}};

void print_help() {
  fmt::print(
      "Usage: resilver volume VERB --config FILE [OPTIONS]     (resilver volume VERB --help tells more)\n\n"
      "A replicated volume: `resilver node` serves one copy on each node, `resilver arbiter` keeps the\n"
      "record of who is the primary, and these commands ask the nodes. One file describes the volume.\n\n");
  for (const Verb& verb : kVerbs) fmt::print("  {:<10}{}\n", verb.name, verb.meaning);
  fmt::print(
      "\nExamples:\n  resilver volume create --config web.toml\n"
      "  resilver volume status --config web.toml\n"
      "  resilver volume attach --config web.toml --import disk.raw\n\n"
      "Exit: 0 done, 1 refused or failed, 2 bad usage or configuration, 130 interrupted.\n");
}

}  // namespace

int volume_main(int argc, char** argv) {
  if (argc < 2) return refuse_usage("volume", "expected a verb (create, status, attach, …)");
  const std::string_view name = argv[1];
  if (name == "--help" || name == "-h" || name == "help") {
    print_help();
    return kDone;
  }
  for (const Verb& verb : kVerbs) {
    if (verb.name != name) continue;
    std::string whole = fmt::format("volume {}", name);
    std::vector<char*> words(argv + 1, argv + argc);
    words[0] = whole.data();
    words.push_back(nullptr);
    return verb.run(argc - 1, words.data());
  }
  return refuse_usage("volume", fmt::format("unknown verb '{}'", name));
}

}  // namespace resilver::tools
