// `resilver node`: the daemon that serves one copy of a replicated volume.
#pragma once

namespace resilver::tools {

// Exit: 0 after SIGTERM or SIGINT, 1 if it cannot start or its array failed, 2 for bad usage or a bad configuration.
int node_main(int argc, char** argv);

}  // namespace resilver::tools
