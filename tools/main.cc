// resilver: one program, one file per subcommand. main() only chooses.
#include <fmt/format.h>
#include <signal.h>

#include <array>
#include <cstdio>
#include <string_view>

#include "base/version.h"
#include "tools/arbiter.h"
#include "tools/array_main.h"
#include "tools/bench.h"
#include "tools/check.h"
#include "tools/compare.h"
#include "tools/contender_node.h"
#include "tools/judge.h"
#include "tools/list.h"
#include "tools/map.h"
#include "tools/node.h"
#include "tools/output.h"
#include "tools/run.h"
#include "tools/show.h"
#include "tools/volume.h"

namespace resilver::tools {
namespace {

struct Subcommand {
  std::string_view name;
  int (*run)(int argc, char** argv);
  std::string_view meaning;
  std::string_view heading = {};  // of the group that begins here
};

constexpr std::array<Subcommand, 28> kSubcommands = {{
    {"run", run_main, "run a scenario against every contender and print the table", "Scenarios"},
    {"list", list_main, "the scenarios that ship"},
    {"show", show_main, "what a scenario says, in prose"},
    {"check", check_main, "read a scenario file and say what is wrong with it"},
    {"judge", judge_main, "read the history of a run back and judge it"},
    {"map", map_main, "where a byte of an array lives and what an I/O costs"},
    {"create", create_main, "make an array on image files or block devices", "Arrays in Linux md's format"},
    {"assemble", assemble_main, "find an array's members, bring it up to date"},
    {"status", status_main, "an array's state, in the form of /proc/mdstat"},
    {"examine", examine_main, "the superblock of an image, as mdadm --examine"},
    {"import", import_main, "write a file into an array"},
    {"export", export_main, "read an array into a file"},
    {"fail", fail_main, "mark a member as faulty"},
    {"remove", remove_main, "forget a faulty disk or a spare"},
    {"add", add_main, "give an array a disk"},
    {"re-add", readd_main, "take a former member back"},
    {"replace", replace_main, "let a spare take over from a member that still works"},
    {"rebuild", rebuild_main, "restore redundancy"},
    {"scrub", scrub_main, "compare all redundancy with the data"},
    {"wipe", wipe_main, "erase the superblock of what is no member any more"},
    {"recreate", recreate_main, "guess how an array was laid out whose superblocks are lost"},
    {"stop", stop_main, "end whoever works on an array"},
    {"bench", bench_main, "how fast arrays are here, and what limits them", "Speed"},
    {"compare", compare_main, "two reports of bench side by side: what differs beyond the noise"},
    {"volume", volume_main, "make, watch, use and repair a volume on several nodes", "Replicated volumes"},
    {"node", node_main, "the daemon that serves one copy of a volume"},
    {"arbiter", arbiter_main, "the process that keeps {epoch, primary, in-sync set} of a volume"},
    {"contender-node", contender_node_main, "one node of a contender; `run` starts it", "Processes"},
}};

void print_help() {
  fmt::print(
      "resilver: a laboratory for redundancy. RAID repairs disks inside one server, replication\n"
      "survives servers; scenarios run the same workload and failures against both.\n\n"
      "Usage: resilver SUBCOMMAND [OPTIONS]     (resilver SUBCOMMAND --help tells more)\n\n");
  for (const Subcommand& subcommand : kSubcommands) {
    if (!subcommand.heading.empty()) fmt::print("{}:\n", subcommand.heading);
    fmt::print("  {:<15}{}\n", subcommand.name, subcommand.meaning);
  }
  fmt::print(
      "\nExamples:\n  resilver run scenarios/disk-then-server.toml\n"
      "  resilver create vm --level 5 --disks 3 --size 1G\n"
      "  resilver volume create --config web.toml\n");
}

int main_(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "resilver: expected a subcommand (run, create, status, bench, …); see resilver --help\n");
    return 2;
  }
  const std::string_view name = argv[1];
  if (name == "--help" || name == "-h" || name == "help") {
    print_help();
    return 0;
  }
  if (name == "--version") {
    fmt::print("resilver {}\n", kVersion);
    return 0;
  }
  for (const Subcommand& subcommand : kSubcommands) {
    if (subcommand.name == name) return subcommand.run(argc - 1, argv + 1);
  }
  fmt::print(stderr, "resilver: unknown subcommand '{}'; see resilver --help\n", name);
  return 2;
}

}  // namespace
}  // namespace resilver::tools

int main(int argc, char** argv) {
  signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is a disk without room (EFBIG), no reason to die
  resilver::tools::prepare_standard_streams();
  return resilver::tools::code_after_output(resilver::tools::main_(argc, argv));
}
