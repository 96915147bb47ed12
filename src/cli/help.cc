#include "cli/help.h"

#include <fmt/format.h>

#include <algorithm>

namespace resilver::cli {
namespace {

constexpr std::size_t kColumns = 100;
constexpr std::size_t kWidestName = 30;  // a longer one has a line of its own

// Breaks lines at spaces. Each line but the first begins with `indent` spaces; the first has `used` columns already.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t used) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (used > indent && used + 1 + end > kColumns) {
      out += '\n' + std::string(indent, ' ');
      used = indent;
    } else if (used > indent) {
      out += ' ';
      ++used;
    }
    out += text.substr(0, end);
    used += end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string paragraphs(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find("\n\n"), text.size());
    out += wrapped(text.substr(0, end), 0, 0) + "\n";
    text.remove_prefix(std::min(end + 2, text.size()));
    if (!text.empty()) out += '\n';
  }
  return out;
}

struct Row {
  std::string name, meaning;
  const char* heading = nullptr;
};

std::string table(const std::vector<Row>& rows) {
  std::size_t width = 0;
  for (const Row& row : rows) {
    if (row.name.size() <= kWidestName) width = std::max(width, row.name.size());
  }
  std::string out;
  for (const Row& row : rows) {
    if (row.heading != nullptr) out += fmt::format("{}{}:\n", out.empty() ? "" : "\n", row.heading);
    const bool fits = row.name.size() <= width;
    out += fmt::format("  {:<{}}{}", row.name, width, fits ? "  " : "\n" + std::string(width + 4, ' '));
    out += wrapped(row.meaning, width + 4, width + 4) + "\n";
  }
  return out;
}

std::string usage(const CommandSpec& command) {
  std::string out;
  for (const std::string& line : usages_of(command))
    out += fmt::format("{} {}\n", out.empty() ? "Usage:" : "      ", line);
  return out;
}

std::string options(const CommandSpec& command) {
  std::vector<Row> rows;
  for (const OptionSpec& option : options_of(command)) {
    const char short_form = letter(option);
    std::string name = short_form != 0 ? fmt::format("-{}, ", short_form) : "    ";
    name += fmt::format("--{}{}{}", long_name(option), option.value != nullptr ? " " : "",
                        option.value != nullptr ? option.value : "");
    rows.push_back({std::move(name), meaning_of(option), option.heading});
  }
  if (rows.front().heading == nullptr) rows.front().heading = "Options";
  return table(rows);
}

std::string verbs(const CommandSpec& command) {
  std::vector<Row> rows;
  for (const CommandSpec* verb : command.verbs) rows.push_back({std::string(verb_of(*verb)), verb->meaning});
  return table(rows);
}

std::string examples(std::initializer_list<const char*> lines) {
  std::string out = lines.size() == 1 ? "Example:\n" : "Examples:\n";
  for (const char* line : lines) out += fmt::format("  {}\n", line);
  return out;
}

std::string exits(const CommandSpec& command) {
  constexpr std::size_t kIndent = 10;
  std::string out;
  for (const ExitCode& exit : command.exits) {
    out += fmt::format("{:<6}{:<4}{}\n", out.empty() ? "Exit:" : "", exit.code, wrapped(exit.meaning, kIndent, kIndent));
  }
  return out;
}

}  // namespace

std::string help_text(const CommandSpec& command) {
  return fmt::format("{}\n{}\n{}\n{}\n{}", usage(command), paragraphs(command.description),
                     command.verbs.size() != 0 ? verbs(command) : options(command), examples(command.examples),
                     exits(command));
}

std::string help_text(const ProgramSpec& program) {
  std::vector<Row> rows;
  for (const CommandGroup& group : program.groups) {
    for (const CommandSpec* command : group.commands) {
      rows.push_back({command->name, command->meaning, command == *group.commands.begin() ? group.heading : nullptr});
    }
  }
  return fmt::format(
      "{0}: {1}\n\n{2}\nUsage: {0} SUBCOMMAND [OPTIONS]     ({0} SUBCOMMAND --help tells more)\n\n{3}\n{4}",
      kProgramName, program.meaning, paragraphs(program.description), table(rows), examples(program.examples));
}

}  // namespace resilver::cli
