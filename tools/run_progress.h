#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "report/progress.h"
#include "scenario/run.h"

namespace resilver::tools {

// One line per contender: drawn over itself on a terminal, else a plain line per phase.
class ProgressPrinter {
 public:
  ProgressPrinter() : terminal_(isatty(STDERR_FILENO) != 0) {}
  ~ProgressPrinter() { end_line(); }

  void show(const scenario::Progress& progress) {
    const bool new_phase = progress.contender != contender_ || progress.phase != phase_;
    if (!terminal_ && !new_phase) return;
    if (progress.contender != contender_) end_line();
    contender_ = progress.contender;
    phase_ = progress.phase;
    const std::string line =
        report::format_progress({progress.contender, progress.phase, progress.permille, progress.rate, progress.left});
    if (terminal_) {
      fmt::print(stderr, "\r{:<79}", line);
      open_ = true;
    } else {
      fmt::print(stderr, "{}\n", line);
    }
    std::fflush(stderr);
  }

  void end_line() {
    if (open_) fmt::print(stderr, "\n");
    open_ = false;
  }

 private:
  bool terminal_;
  bool open_ = false;
  std::string contender_;
  std::string phase_;
};

}  // namespace resilver::tools
