#include "cli/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <ranges>

#include "base/nearest.h"
#include "base/units.h"
#include "base/version.h"
#include "cli/help.h"

namespace resilver::cli {
namespace {

namespace po = boost::program_options;
using Texts = std::vector<std::string>;

constexpr const char* kWords = " ";  // of what is no option; nobody can type it as the name of one

template <typename T>
Result<T> named(std::string_view option, Result<T> value) {
  if (value) return value;
  return fail(Errc::bad_input, fmt::format("--{}: {}", option, value.error().what));
}

po::options_description described(const CommandSpec& command) {
  po::options_description all;
  auto add = all.add_options();
  for (const OptionSpec& option : options_of(command)) {
    if (option.value == nullptr) {
      add(option.name, "");
    } else if (takes_all(option.value)) {
      add(option.name, po::value<Texts>()->multitoken(), "");
    } else if (option.repeated) {
      add(option.name, po::value<Texts>(), "");
    } else {
      add(option.name, po::value<std::string>(), "");
    }
  }
  add(kWords, po::value<Texts>(), "");
  return all;
}

std::unexpected<Error> refuse(std::string_view command, std::string_view why) {
  return fail(Errc::bad_input, usage_error(command, why));
}

// "--sise": what it may have been meant to be.
std::string option_hint(const CommandSpec& command, std::string_view given) {
  std::vector<std::string> names;
  for (const OptionSpec& option : options_of(command)) names.push_back(fmt::format("--{}", long_name(option)));
  return given.starts_with("--") ? nearest_hint(given.substr(0, given.find('=')), {names.begin(), names.end()}) : "";
}

Result<po::variables_map> parse(const CommandSpec& command, const Texts& words) {
  po::variables_map values;
  const po::options_description all = described(command);
  po::positional_options_description positional;
  positional.add(kWords, -1);
  // Long options must be written out.
  const auto style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  try {
    po::store(po::command_line_parser(words).options(all).positional(positional).style(style).run(), values);
  } catch (const po::unknown_option& error) {
    return refuse(command.name, error.what() + option_hint(command, error.get_option_name()));
  } catch (const po::error& error) {
    return refuse(command.name, error.what());
  }
  return values;
}

const CommandSpec* find_command(const ProgramSpec& program, std::string_view name) {
  for (const CommandGroup& group : program.groups) {
    for (const CommandSpec* command : group.commands) {
      if (command->name == name) return command;
    }
  }
  return nullptr;
}

const CommandSpec* find_verb(const CommandSpec& command, std::string_view name) {
  const auto found = std::ranges::find(command.verbs, name, [](const CommandSpec* verb) { return verb_of(*verb); });
  return found == command.verbs.end() ? nullptr : *found;
}

std::vector<std::string_view> verbs_of(const CommandSpec& command) {
  std::vector<std::string_view> names;
  for (const CommandSpec* verb : command.verbs) names.push_back(verb_of(*verb));
  return names;
}

bool asks_for_help(std::string_view word) { return word == "--help" || word == "-h" || word == "help"; }

Request only(std::string text) { return {nullptr, {}, std::move(text)}; }

std::unexpected<Error> unknown_subcommand(const ProgramSpec& program, std::string_view name) {
  std::vector<std::string_view> known;
  for (const CommandSpec* command : public_commands(program)) known.push_back(command->name);
  return fail(Errc::bad_input, fmt::format("{}: unknown subcommand '{}'{}; see {} --help", kProgramName, name,
                                           nearest_hint(name, known), kProgramName));
}

std::unexpected<Error> unknown_verb(const CommandSpec& command, std::string_view name) {
  const auto known = verbs_of(command);
  return refuse(command.name, fmt::format("unknown verb '{}'{}", name, nearest_hint(name, known)));
}

// `resilver help`, `resilver help volume attach`, `resilver volume help attach`
Result<Request> read_help(const ProgramSpec& program, const CommandSpec* command, const Texts& words) {
  for (const std::string& word : words) {
    const CommandSpec* next = command == nullptr ? find_command(program, word) : find_verb(*command, word);
    if (next == nullptr) return command == nullptr ? unknown_subcommand(program, word) : unknown_verb(*command, word);
    command = next;
  }
  return only(command == nullptr ? help_text(program) : help_text(*command));
}

Texts after_first(const Texts& words) { return {words.begin() + 1, words.end()}; }

}  // namespace

std::string CommandLine::text(std::string_view name) const {
  const auto given = all(name);
  return given.empty() ? std::string() : given.front();
}

std::vector<std::string> CommandLine::all(std::string_view name) const {
  if (const auto given = options.find(name); given != options.end()) return given->second;
  if (spec_ == nullptr) return {};
  const auto known = std::ranges::find(spec_->options, name, long_name);
  if (known == spec_->options.end() || known->otherwise == nullptr) return {};
  return {known->otherwise};
}

Result<std::uint64_t> CommandLine::size_of(std::string_view name, std::uint64_t otherwise) const {
  const std::string given = text(name);
  return given.empty() ? otherwise : named(name, parse_size(given));
}

Result<std::uint32_t> CommandLine::count_of(std::string_view name, std::uint32_t otherwise, std::uint32_t most) const {
  const std::string given = text(name);
  if (given.empty()) return otherwise;
  const auto count = named(name, parse_count(given));
  if (!count) return std::unexpected(count.error());
  if (*count > most) return fail(Errc::bad_input, fmt::format("--{}: {} is more than {}", name, *count, most));
  return static_cast<std::uint32_t>(*count);
}

Result<std::uint64_t> CommandLine::rate_of(std::string_view name) const {
  const std::string given = text(name);
  if (given.empty()) return 0;
  return named(name, given.ends_with("/s") ? parse_rate(given) : parse_size(given));
}

std::string usage_error(std::string_view command, std::string_view why) {
  return fmt::format("{0} {1}: {2}; see {0} {1} --help", kProgramName, command, why);
}

Result<Request> read_request(const CommandSpec& command, const std::vector<std::string>& words) {
  const auto values = parse(command, words);
  if (!values) return std::unexpected(values.error());
  if (values->contains("help")) return only(help_text(command));
  CommandLine line(command);
  line.typed = fmt::format("{} {} {}", kProgramName, command.name, fmt::join(words, " "));
  if (values->contains(kWords)) line.words = (*values)[kWords].as<Texts>();
  if (words_of(command).empty() && !line.words.empty()) {
    return refuse(command.name, fmt::format("'{}': expected options only", line.words[0]));
  }
  for (const OptionSpec& option : command.options) {
    const std::string name(long_name(option));
    if (!values->contains(name)) continue;
    const po::variable_value& value = (*values)[name];
    if (option.value == nullptr) {
      line.options[name] = {};
    } else if (takes_all(option.value) || option.repeated) {
      line.options[name] = value.as<Texts>();
    } else if (value.as<std::string>().empty()) {
      return refuse(command.name, fmt::format("--{}: empty", name));
    } else {
      line.options[name] = {value.as<std::string>()};
    }
  }
  return Request{&command, std::move(line), {}};
}

Result<Request> read_request(const ProgramSpec& program, const std::vector<std::string>& words) {
  if (words.empty()) {
    return fail(Errc::bad_input, fmt::format("{0}: expected a subcommand ({1}, ...); see {0} --help", kProgramName,
                                             fmt::join(public_commands(program) | std::views::take(4) |
                                                           std::views::transform(&CommandSpec::name),
                                                       ", ")));
  }
  if (asks_for_help(words[0])) return read_help(program, nullptr, after_first(words));
  if (words[0] == "--version") return only(fmt::format("{} {}\n", kProgramName, kVersion));
  const CommandSpec* command = find_command(program, words[0]);
  if (command == nullptr) return unknown_subcommand(program, words[0]);
  if (command->verbs.size() == 0) return read_request(*command, after_first(words));
  if (words.size() == 1) {
    return refuse(command->name, fmt::format("expected a verb ({})", fmt::join(verbs_of(*command), ", ")));
  }
  if (asks_for_help(words[1])) return read_help(program, command, after_first(after_first(words)));
  const CommandSpec* verb = find_verb(*command, words[1]);
  if (verb == nullptr) return unknown_verb(*command, words[1]);
  return read_request(*verb, after_first(after_first(words)));
}

}  // namespace resilver::cli
