#include "cli/man.h"

#include <fmt/format.h>

#include <algorithm>

namespace resilver::cli {
namespace {

// What scdoc takes for markup is text here, also what would begin a list.
std::string plain(std::string_view text) {
  constexpr std::string_view kMarkup = "\\*_`#<>[]|+~", kList = "-.";
  std::string out;
  for (const char c : text) {
    const bool begins = out.empty() || out.back() == '\n';
    if (kMarkup.contains(c) || (begins && kList.contains(c))) out += '\\';
    out += c;
  }
  return out;
}

std::string bold(std::string_view text) { return fmt::format("*{}*", plain(text)); }
std::string underlined(std::string_view text) { return fmt::format("_{}_", plain(text)); }

std::string title(std::string_view page) { return fmt::format("{0}(1)\n\n# NAME\n\n{0} - ", page); }

// The names in bold, the rest as it is; several lines by "++".
std::string synopsis(const CommandSpec& command) {
  const std::string name = fmt::format("{} {}", kProgramName, command.name);
  std::string out;
  for (const std::string& usage : usages_of(command)) {
    out += fmt::format("{}{}{}", out.empty() ? "" : "++\n", bold(name), plain(usage.substr(name.size())));
  }
  return out + "\n";
}

std::string options(const CommandSpec& command) {
  std::string out;
  for (const OptionSpec& option : options_of(command)) {
    if (option.heading != nullptr) out += fmt::format("\n{}:\n", bold(option.heading));
    const char short_form = letter(option);
    out += fmt::format("\n{}{}{}\n\t{}\n", short_form != 0 ? bold(fmt::format("-{}", short_form)) + ", " : "",
                       bold(fmt::format("--{}", long_name(option))),
                       option.value != nullptr ? " " + underlined(option.value) : "", plain(meaning_of(option)));
  }
  return out;
}

// A backslash is the only markup in a literal block.
std::string examples(std::initializer_list<const char*> lines) {
  std::string out = "\n```\n";
  for (const char* line : lines) {
    for (const char* c = line; *c != '\0'; ++c) out += *c == '\\' ? "\\\\" : std::string(1, *c);
    out += '\n';
  }
  return out + "```\n";
}

std::string exits(const CommandSpec& command) {
  std::string out;
  for (const ExitCode& exit : command.exits)
    out += fmt::format("\n{}\n\t{}\n", bold(std::to_string(exit.code)), plain(exit.meaning));
  return out;
}

std::string verb(const CommandSpec& command) {
  return fmt::format("\n# {}\n\n{}\n{}\n{}\nExamples:\n{}\nExit status:\n{}", command.name, synopsis(command),
                     plain(command.description) + "\n", options(command), examples(command.examples), exits(command));
}

}  // namespace

std::string man_page(const CommandSpec& command) {
  std::string out = title(fmt::format("{}-{}", kProgramName, command.name)) + plain(command.meaning) +
                    "\n\n# SYNOPSIS\n\n" + synopsis(command) + "\n# DESCRIPTION\n\n" + plain(command.description) + "\n";
  if (command.verbs.size() == 0) {
    out += "\n# OPTIONS\n" + options(command);
  } else {
    for (const CommandSpec* one : command.verbs) {
      out += fmt::format("\n{}\n\t{}\n", bold(verb_of(*one)), plain(one->meaning));
    }
    for (const CommandSpec* one : command.verbs) out += verb(*one);
  }
  out += "\n# EXAMPLES\n" + examples(command.examples) + "\n# EXIT STATUS\n" + exits(command);
  return out + fmt::format("\n# SEE ALSO\n\n{}(1)\n", bold(kProgramName));
}

std::string man_page(const ProgramSpec& program) {
  std::string out =
      title(kProgramName) + plain(program.meaning) +
      fmt::format("\n\n# SYNOPSIS\n\n{} SUBCOMMAND \\[OPTIONS\\]++\n{} SUBCOMMAND\n\n# DESCRIPTION\n\n{}\n",
                  bold(kProgramName), bold(fmt::format("{} help", kProgramName)), plain(program.description));
  for (const CommandGroup& group : program.groups) {
    if (std::ranges::all_of(group.commands, &CommandSpec::internal)) continue;
    out += fmt::format("\n# {}\n", group.heading);
    for (const CommandSpec* command : group.commands) {
      if (command->internal) continue;
      out += fmt::format("\n*{}-{}*(1)\n\t{}\n", kProgramName, plain(command->name), plain(command->meaning));
    }
  }
  out += "\n# EXAMPLES\n" + examples(program.examples);
  return out;
}

}  // namespace resilver::cli
