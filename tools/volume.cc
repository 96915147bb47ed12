// `resilver volume ...`: a replicated volume over images, block devices and arrays of one's own.
#include "tools/commands.h"

namespace resilver::tools {

constexpr cli::CommandSpec kVolumeCommand = {
    .name = "volume",
    .meaning = "make, watch, use and repair a volume on several nodes",
    .usage = "VERB --config FILE [OPTIONS]",
    .description =
        "A replicated volume: `resilver node` serves one copy on each node, `resilver arbiter` keeps the record of who "
        "is "
        "the primary, and these commands ask the nodes. One file describes the volume.",
    .examples = {"resilver volume create --config web.toml", "resilver volume status --config web.toml",
                 "resilver volume attach --config web.toml --import disk.raw"},
    .exits = {{0, "done"}, {1, "refused or failed"}, {2, "bad usage or configuration"}, cli::kInterruptedExit},
    .verbs = {&kVolumeCreateCommand, &kVolumeStatusCommand, &kVolumeAttachCommand, &kVolumePromoteCommand,
              &kVolumeDemoteCommand, &kVolumeAckCommand, &kVolumeVerifyCommand, &kVolumeResyncCommand,
              &kVolumeResolveCommand, &kVolumeRecoverCommand, &kVolumeGrowCommand, &kVolumeAdoptCommand,
              &kVolumeReidCommand, &kVolumeUpgradeCommand},
};

}  // namespace resilver::tools
