// Ctrl-C and SIGTERM while rounds run: they end early but in the ordinary way, so that no process and no folder is left.
#pragma once

namespace resilver::test {

// From here on they are noted instead of ending this process.
void note_interrupts();
bool interrupted();
// Ends this process as the signal that came would have.
[[noreturn]] void end_interrupted();

}  // namespace resilver::test
