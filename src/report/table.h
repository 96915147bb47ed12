// src/report: what a run's results look like to people (a table, closing sentences, a progress line) and to programs
// (results.json). Pure functions from the structs of scenario/results.h to text: this room opens no file, reads no clock,
// decides no verdict, and says nothing that the measures do not say.
#pragma once

#include <string>

#include "scenario/results.h"

namespace resilver::report {

inline constexpr std::size_t kTableWidth = 100;

struct TableOptions {
  bool wide = false;  // all contenders in one block, whatever the width
};

// The whole report: head, blocks of contenders by event (at most kTableWidth wide, unless one column alone is wider), the
// oracle's verdict, what the marks mean, what was unreadable, the closing sentences, the expectations. Ends with a newline.
// UTF-8; `*` marks the best (see best_marks).
std::string format_report(const scenario::RunResults& results, const TableOptions& options = {});

// The expectations alone, one per line or more, and a line that counts them.
std::string format_expectations(const scenario::RunResults& results);

}  // namespace resilver::report
