// The commands: each is defined, with what it understands and the function that runs it, in a file of its own or with its
// likes. The exit codes of all but those that say otherwise: 0 done, 1 refused or gone wrong (one line on standard error;
// a refusal wrote nothing), 2 bad usage, 130 interrupted.
#pragma once

#include "cli/spec.h"

namespace resilver::tools {

// All of them, in the order of help.
extern const cli::ProgramSpec kProgram;

// Scenarios.
extern const cli::CommandSpec kRunCommand, kListCommand, kShowCommand, kCheckCommand, kJudgeCommand, kMapCommand;
// Arrays in Linux md's format.
extern const cli::CommandSpec kCreateCommand, kAssembleCommand, kStatusCommand, kExamineCommand, kImportCommand,
    kExportCommand, kFailCommand, kRemoveCommand, kAddCommand, kReaddCommand, kReplaceCommand, kRebuildCommand,
    kScrubCommand, kWipeCommand, kRecreateCommand, kStopCommand;
// Speed.
extern const cli::CommandSpec kBenchCommand, kCompareCommand;
// Replicated volumes: the verbs of `volume`, and the processes.
extern const cli::CommandSpec kVolumeCommand, kVolumeCreateCommand, kVolumeStatusCommand, kVolumeAttachCommand,
    kVolumePromoteCommand, kVolumeDemoteCommand, kVolumeAckCommand, kVolumeVerifyCommand, kVolumeResyncCommand,
    kVolumeResolveCommand, kVolumeRecoverCommand, kVolumeGrowCommand, kVolumeAdoptCommand, kVolumeReidCommand,
    kVolumeUpgradeCommand;
extern const cli::CommandSpec kNodeCommand, kArbiterCommand;
// For the program itself.
extern const cli::CommandSpec kContenderNodeCommand, kGenerateCommand;

}  // namespace resilver::tools
