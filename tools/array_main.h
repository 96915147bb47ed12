// The commands of persistent arrays, one function each. argv[0] is the command's name. Exit codes, all of them: 0 done,
// 1 refused or gone wrong (one line on standard error; a refusal wrote nothing), 2 bad usage, 130 interrupted; status --test
// and scrub have more to tell: see their --help.
#pragma once

namespace resilver::tools {

int create_main(int argc, char** argv);
int assemble_main(int argc, char** argv);
int rebuild_main(int argc, char** argv);
int scrub_main(int argc, char** argv);
int stop_main(int argc, char** argv);
int examine_main(int argc, char** argv);
int status_main(int argc, char** argv);
int import_main(int argc, char** argv);
int export_main(int argc, char** argv);
int fail_main(int argc, char** argv);
int remove_main(int argc, char** argv);
int add_main(int argc, char** argv);
int readd_main(int argc, char** argv);
int replace_main(int argc, char** argv);
int wipe_main(int argc, char** argv);
int recreate_main(int argc, char** argv);

}  // namespace resilver::tools
