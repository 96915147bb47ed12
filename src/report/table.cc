#include "report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/units.h"
#include "report/rows.h"
#include "report/sentences.h"

namespace resilver::report {

namespace {

using scenario::EventState;
using scenario::Outcome;
using scenario::RunResults;

constexpr std::size_t kLabelWidth = 36;
constexpr std::size_t kCellWidth = 16;  // at least: a gap of one in front, two for the mark behind
constexpr std::size_t kMaxBlocksShown = 8;

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string wrapped(const std::string& text, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (column > indent && column + 1 + columns_of(word) > kTableWidth) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += columns_of(word);
    begin = end + 1;
  }
  return out + "\n";
}

std::string rule(const std::string& title, std::size_t width) {
  std::string line = "── " + title + " ";
  for (std::size_t column = columns_of(line); column < width; ++column) line += "─";
  return line + "\n";
}

// ---- printing --------------------------------------------------------------------------------------------------------

std::string pad_left(const std::string& text, std::size_t width) {
  const std::size_t columns = columns_of(text);
  return columns >= width ? text : std::string(width - columns, ' ') + text;
}

std::string trimmed_line(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

// Breaks at spaces where the next word does not fit any more. A word that is too long stays whole: no text is cut.
std::vector<std::string> lines_of(const std::string& text, std::size_t width) {
  std::vector<std::string> lines(1);
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (lines.back().empty())
      lines.back() = word;
    else if (columns_of(lines.back()) + 1 + columns_of(word) <= width)
      lines.back() += " " + word;
    else
      lines.push_back(word);
    begin = end + 1;
  }
  return lines;
}

// Wide enough for every name and every word of a cell; what has several words may take several lines.
std::size_t cell_width(const Table& table) {
  std::size_t widest = 0;
  const auto see = [&](const std::string& text) {
    for (const auto& word : lines_of(text, 0)) widest = std::max(widest, columns_of(word));
  };
  for (const auto& name : table.contenders) see(name);
  for (const auto& group : table.groups)
    for (const auto& row : group.rows)
      for (const auto& cell : row.cells) see(cell.text);
  return std::max(kCellWidth, widest + 3);
}

const char* mark_of(const Cell& cell, bool best, std::size_t line) {
  if (line != 0) return "  ";
  return cell.overloaded ? " !" : best ? " *" : "  ";
}

std::string format_row(const Row& row, std::size_t first, std::size_t count, std::size_t cell) {
  const auto marks = best_marks(row);
  std::vector<std::vector<std::string>> columns;
  std::size_t height = 1;
  for (std::size_t i = first; i < first + count; ++i) {
    columns.push_back(lines_of(row.cells[i].text, cell - 3));
    height = std::max(height, columns.back().size());
  }
  std::string out;
  for (std::size_t l = 0; l < height; ++l) {
    const std::string label = l == 0 ? row.label : std::string();
    std::string line = label + std::string(kLabelWidth - std::min(kLabelWidth, label.size()), ' ');
    for (std::size_t i = 0; i < count; ++i) {
      const std::string text = l < columns[i].size() ? columns[i][l] : std::string();
      line += pad_left(text, cell - 2) + mark_of(row.cells[first + i], marks[first + i], l);
    }
    out += trimmed_line(line);
  }
  return out;
}

std::string format_block(const Table& table, std::size_t first, std::size_t count, std::size_t cell) {
  const std::size_t width = std::max(kTableWidth, kLabelWidth + count * cell);
  std::string out(kLabelWidth, ' ');
  for (std::size_t i = first; i < first + count; ++i) out += pad_left(table.contenders[i], cell - 2) + "  ";
  out = trimmed_line(out);
  for (const auto& group : table.groups) {
    if (!group.title.empty()) out += rule(group.title, width);
    for (const auto& row : group.rows) out += format_row(row, first, count, cell);
  }
  return out;
}

std::string format_table(const Table& table, bool wide) {
  std::string out;
  const std::size_t cell = cell_width(table);
  const std::size_t total = table.contenders.size();
  const std::size_t per_block = std::max<std::size_t>(wide ? total : (kTableWidth - kLabelWidth) / cell, 1);
  for (std::size_t first = 0; first < total; first += per_block) {
    if (first > 0) out += "\n";
    out += format_block(table, first, std::min(per_block, total - first), cell);
  }
  if (!table.legend.empty()) out += "\n";
  for (const auto& line : table.legend) out += "  " + wrapped(line, 4);
  return out;
}

std::string format_head(const RunResults& results) {
  const auto& header = results.header;
  std::string text =
      fmt::format("{}  {}  seed {}", header.scenario, header.real ? "real time" : "virtual time", header.seed);
  if (!header.real) text += fmt::format("  trace {:016x}", header.trace_hash);
  std::string models = fmt::format("{} volume, {} disks", format_size(header.volume_bytes), header.disk_model);
  if (!header.link.empty()) models += ", link " + header.link;
  std::string out = header.title + "\n" + wrapped(text, 2) + wrapped(models, 2);
  if (header.modelled_volume_bytes != 0 && header.modelled_volume_bytes != header.volume_bytes)
    out += wrapped(fmt::format("scaled for the real world: {} instead of {}; nothing is extrapolated",
                               format_size(header.volume_bytes), format_size(header.modelled_volume_bytes)),
                   2);
  if (header.real && !header.paced) out += "shared device: rates not comparable (unpaced)\n";
  for (const auto& note : header.notes) out += wrapped(note, 2);
  return out + "\n";
}

// What the columns cannot hold: why a contender is inconclusive, why an event was not reached, which blocks are bad.
std::string format_remarks(const RunResults& results) {
  std::string out;
  for (const auto& contender : results.contenders) {
    if (!contender.inconclusive.empty())
      out += wrapped(fmt::format("INCONCLUSIVE: {}: {}", contender.name, contender.inconclusive), 2);
    if (!contender.trouble.empty()) out += wrapped(fmt::format("{}: {}", contender.name, contender.trouble), 2);
    for (const auto& event : contender.events)
      if (event.state == EventState::not_reached)
        out += wrapped(fmt::format("{}: '{}' was not reached{}{}", contender.name, event.name,
                                   event.note.empty() ? "" : ": ", event.note),
                       2);
    const auto& blocks = contender.oracle.blocks;
    if (blocks.empty()) continue;
    std::string text = contender.name + ": ";
    for (std::size_t i = 0; i < std::min(blocks.size(), kMaxBlocksShown); ++i)
      text += fmt::format("{}{}: {} bytes at {}", i == 0 ? "" : ", ", block_fate_name(blocks[i].fate), blocks[i].length,
                          blocks[i].offset);
    if (blocks.size() > kMaxBlocksShown)
      text += fmt::format(", and {} more in results.json", blocks.size() - kMaxBlocksShown);
    out += wrapped(text, 2);
  }
  return out.empty() ? out : "\n" + out;
}

// The question is asked only where both answers contend.
std::string heading(const RunResults& results) {
  const auto any = [&](Kind kind) {
    const auto& all = results.contenders;
    return std::any_of(all.begin(), all.end(), [kind](const auto& contender) { return kind_of(contender) == kind; });
  };
  return any(Kind::local) && any(Kind::remote) ? "LOCAL REBUILD OR REMOTE FAILOVER?" : "WHAT CAME OUT";
}

std::string format_sentences(const RunResults& results) {
  const auto sentences = closing_sentences(results);
  if (sentences.empty()) return {};
  std::size_t width = 0;
  for (const auto& sentence : sentences) width = std::max(width, columns_of(sentence.about));
  std::string out = "\n" + heading(results) + "\n";
  for (const auto& sentence : sentences)
    out += fmt::format("  {}{}  {}", sentence.about, std::string(width - columns_of(sentence.about), ' '),
                       wrapped(sentence.text, width + 4));
  return out;
}

}  // namespace

std::string format_expectations(const RunResults& results) {
  if (results.verdicts.empty()) return {};
  std::size_t counts[5] = {};
  std::string out = "\nEXPECTATIONS\n";
  for (const auto& verdict : results.verdicts) {
    ++counts[static_cast<std::size_t>(verdict.outcome)];
    static constexpr const char* kMarks[] = {"holds", "FAILS", "measured", "left out", "n/a"};
    out += fmt::format("  {:<9}", kMarks[static_cast<std::size_t>(verdict.outcome)]) + wrapped(verdict.check, 11);
    const bool told = verdict.outcome != Outcome::passed;
    if (told && !verdict.detail.empty()) {
      const std::string lead = verdict.outcome == Outcome::measured ? "measured, not judged: " : "";
      out += std::string(11, ' ') + wrapped(lead + verdict.detail, 11);
    }
    if (!verdict.why.empty()) out += std::string(11, ' ') + wrapped("why: " + verdict.why, 11);
    if (verdict.outcome == Outcome::failed) out += std::string(11, ' ') + wrapped("at " + verdict.position, 11);
  }
  out += fmt::format("{} hold, {} fail", counts[0], counts[1]);
  if (counts[2] > 0) out += fmt::format(", {} measured and not judged", counts[2]);
  if (counts[3] > 0) out += fmt::format(", {} left out", counts[3]);
  if (counts[4] > 0) out += fmt::format(", {} had nothing to judge (inconclusive)", counts[4]);
  return out + "\n";
}

std::string format_report(const RunResults& results, const TableOptions& options) {
  return format_head(results) + format_table(make_table(results), options.wide) + format_remarks(results) +
         format_sentences(results) + format_expectations(results);
}

}  // namespace resilver::report
