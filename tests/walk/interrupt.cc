#include "tests/walk/interrupt.h"

#include <signal.h>
#include <unistd.h>

namespace resilver::test {
namespace {

volatile sig_atomic_t came = 0;

void note(int number) { came = number; }

}  // namespace

void note_interrupts() {
  struct sigaction action{};
  action.sa_handler = note;  // without SA_RESTART: what sleeps wakes up
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
}

bool interrupted() { return came != 0; }

void end_interrupted() {
  signal(came, SIG_DFL);
  raise(came);
  _exit(128 + came);
}

}  // namespace resilver::test
