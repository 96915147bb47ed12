// `resilver check`: lint of scenario files, without running them.
#pragma once

namespace resilver::tools {

// argv[0] is the subcommand's name. Returns 0 if every file is sound, else 2 after one line per error on standard error
// ("file:line:column: what was expected").
int check_main(int argc, char** argv);

}  // namespace resilver::tools
