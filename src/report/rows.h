// The table of a report as a model: groups of rows of cells. The text (table.h) and `table` in results.json (json.h) are made
// from it alone, so that both say the same. Pure functions; nothing here knows about columns and line ends.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scenario/measures.h"
#include "scenario/results.h"

namespace resilver::report {

// What is printed, and the number that decides who is best: less is better; none takes no part.
struct Cell {
  std::string text;
  std::optional<double> rank;
  bool overloaded = false;  // what is told is of a load that the contender's disks cannot serve: marked with !
};

// One line: what it is called, the measures that its cells are made of, a cell for each contender of the run.
struct Row {
  std::string label;
  std::vector<scenario::MeasureId> measures;
  std::vector<Cell> cells;
};

struct Group {
  std::string title;  // empty: no rule above
  std::string event;  // empty: about the whole run
  std::vector<Row> rows;
};

struct Table {
  std::vector<std::string> contenders;
  std::vector<Group> groups;
  std::vector<std::string> legend;  // what the marks in the cells mean: a line for each that occurs
};

Table make_table(const scenario::RunResults& results);

// The best, if it leads by more than 10 % over somebody; all that are as good as the best share the mark.
std::vector<bool> best_marks(const Row& row);

// Every label that a row may have. Each has its line in docs/glossary.md.
std::vector<std::string> row_labels();

}  // namespace resilver::report
