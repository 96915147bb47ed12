// `resilver arbiter`: the process that keeps {epoch, primary, in-sync set} of one replicated volume.
#pragma once

namespace resilver::tools {

// Exit: 0 after SIGINT or SIGTERM, 1 if the state cannot be read or written or the address not be had, 2 for bad usage.
int arbiter_main(int argc, char** argv);

}  // namespace resilver::tools
