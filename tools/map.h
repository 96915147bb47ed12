// `resilver map`: where a byte of an array lives and what reading or writing it costs, from the same geometry and plans that
// the array executes. Opens nothing, changes nothing.
#pragma once

namespace resilver::tools {

// argv[0] is the subcommand's name, options follow. Writes to standard output; returns 0, or 2 after one line on standard
// error that says what was wrong and what is expected.
int map_main(int argc, char** argv);

}  // namespace resilver::tools
