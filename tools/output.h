// Standard input, output and error as this program can rely on them.
#pragma once

namespace resilver::tools {

// Call first in main(). A reader that goes away ends nothing: SIGPIPE is ignored, and what is printed to a pipe that
// nobody reads is dropped. Descriptors 0 to 2 that were closed lead to /dev/null, so that no image is ever opened as
// one of them, and written over by a message.
void prepare_standard_streams();

// What main() returns for a command that ended with `code`: where its result could not be written for another reason
// than that nobody reads it (a full disk), a line on standard error, and 1 instead of 0.
int code_after_output(int code);

}  // namespace resilver::tools
