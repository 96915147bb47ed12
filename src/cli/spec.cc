#include "cli/spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace resilver::cli {
namespace {

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(at, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string_view without_dots(std::string_view value) {
  return takes_all(value) ? value.substr(0, value.size() - 3) : value;
}

}  // namespace

std::string_view long_name(const OptionSpec& option) { return split(option.name, ',').front(); }

char letter(const OptionSpec& option) {
  const auto names = split(option.name, ',');
  return names.size() > 1 ? names[1].front() : '\0';
}

bool takes_all(std::string_view value) { return value.ends_with("...") && !value.ends_with(",..."); }

ValueKind kind_of(std::string_view value) {
  value = without_dots(value);
  if (value == "FILE" || value == "IMAGE" || value == "PATH") return ValueKind::file;
  if (value == "DIR") return ValueKind::folder;
  if (value == "DIR|IMAGE") return ValueKind::path;
  if (value == "SCENARIO") return ValueKind::scenario;
  const bool lower = std::ranges::none_of(value, [](char c) { return c >= 'A' && c <= 'Z'; });
  return lower && !value.empty() ? ValueKind::choice : ValueKind::text;
}

ValueKind kind_of(const OptionSpec& option) {
  return option.choices != nullptr ? ValueKind::choice : kind_of(option.value);
}

std::vector<std::string_view> choices_of(std::string_view value) { return split(value, '|'); }

std::vector<std::string_view> choices_of(const OptionSpec& option) {
  return choices_of(option.choices != nullptr ? option.choices : option.value);
}

std::vector<std::string_view> words_of(const CommandSpec& command) { return split(command.words, ' '); }

std::string meaning_of(const OptionSpec& option) {
  std::string text = option.meaning;
  if (option.choices != nullptr) {
    text += fmt::format("{}{}", text.empty() ? "" : ": ", fmt::join(choices_of(option), ", "));
  }
  if (option.repeated) text += "; may be repeated";
  if (option.otherwise != nullptr) text += fmt::format(" (default {})", option.otherwise);
  return text;
}

std::vector<std::string> usages_of(const CommandSpec& command) {
  std::vector<std::string> usages;
  std::string usual = command.words;
  if (command.options.size() != 0) usual += usual.empty() ? "[OPTIONS]" : " [OPTIONS]";
  for (const std::string_view line : split(command.usage != nullptr ? command.usage : usual.c_str(), '\n')) {
    usages.push_back(fmt::format("{} {} {}", kProgramName, command.name, line));
  }
  if (usages.empty()) usages.push_back(fmt::format("{} {}", kProgramName, command.name));
  return usages;
}

std::string_view verb_of(const CommandSpec& command) { return split(command.name, ' ').back(); }

std::vector<OptionSpec> options_of(const CommandSpec& command) {
  std::vector<OptionSpec> options(command.options);
  options.push_back(kHelpOption);
  return options;
}

std::vector<const CommandSpec*> public_commands(const ProgramSpec& program) {
  std::vector<const CommandSpec*> commands;
  for (const CommandGroup& group : program.groups) {
    for (const CommandSpec* command : group.commands) {
      if (!command->internal) commands.push_back(command);
    }
  }
  return commands;
}

}  // namespace resilver::cli
