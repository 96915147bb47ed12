// `resilver volume …`: a replicated volume over images, block devices and arrays of one's own.
#pragma once

namespace resilver::tools {

int volume_main(int argc, char** argv);

// One for each verb; argv[0] is "volume VERB". Exit codes as in array_command.h.
int volume_create_main(int argc, char** argv);
int volume_attach_main(int argc, char** argv);
int volume_status_main(int argc, char** argv);
int volume_promote_main(int argc, char** argv);
int volume_demote_main(int argc, char** argv);
int volume_ack_main(int argc, char** argv);
int volume_verify_main(int argc, char** argv);
int volume_resync_main(int argc, char** argv);
int volume_resolve_main(int argc, char** argv);
int volume_recover_main(int argc, char** argv);
int volume_upgrade_main(int argc, char** argv);
int volume_reid_main(int argc, char** argv);
int volume_adopt_main(int argc, char** argv);
int volume_grow_main(int argc, char** argv);

}  // namespace resilver::tools
