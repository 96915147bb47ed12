// `resilver contender-node`: one node of a contender as a process of its own. `resilver run` starts it with a configuration
// file, is told where it listens on its standard output, and steers it over its control connection.
#pragma once

namespace resilver::tools {

// Exit: 0 after SIGTERM or when the runner has gone, 1 if it cannot start, 2 for bad usage or a bad configuration.
int contender_node_main(int argc, char** argv);

}  // namespace resilver::tools
