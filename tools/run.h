// `resilver run`: a scenario against every contender, in one of the two worlds; progress, table, results.json.
#pragma once

namespace resilver::tools {

// Exit: 0 every expectation holds, 1 one does not, 2 usage, a bad file or a machine that cannot run it, 3 inconclusive,
// 130 interrupted.
int run_main(int argc, char** argv);

}  // namespace resilver::tools
