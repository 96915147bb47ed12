#include "tools/commands.h"

namespace resilver::tools {

constexpr cli::ProgramSpec kProgram = {
    .meaning = "a laboratory for redundancy",
    .description =
        "RAID repairs disks inside one server, replication survives servers; scenarios run the same workload "
        "and failures against both.",
    .groups =
        {
            {"Scenarios", {&kRunCommand, &kListCommand, &kShowCommand, &kCheckCommand, &kJudgeCommand, &kMapCommand}},
            {"Arrays in Linux md's format",
             {&kCreateCommand, &kAssembleCommand, &kStatusCommand, &kExamineCommand, &kImportCommand, &kExportCommand,
              &kFailCommand, &kRemoveCommand, &kAddCommand, &kReaddCommand, &kReplaceCommand, &kRebuildCommand,
              &kScrubCommand, &kWipeCommand, &kRecreateCommand, &kStopCommand}},
            {"Speed", {&kBenchCommand, &kCompareCommand}},
            {"Replicated volumes", {&kVolumeCommand, &kNodeCommand, &kArbiterCommand}},
            {"For the program itself", {&kGenerateCommand, &kContenderNodeCommand}},
        },
    .examples = {"resilver run scenarios/disk-then-server.toml", "resilver create vm --level 5 --disks 3 --size 1G",
                 "resilver volume create --config web.toml"},
};

}  // namespace resilver::tools
