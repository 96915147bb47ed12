#include "cli/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ranges>

namespace resilver::cli {
namespace {

std::string names(const std::vector<const CommandSpec*>& commands) {
  return fmt::format("{}", fmt::join(commands | std::views::transform(&CommandSpec::name), " "));
}

std::string verb_names(const CommandSpec& command) {
  return fmt::format(
      "{}",
      fmt::join(command.verbs | std::views::transform([](const CommandSpec* verb) { return verb_of(*verb); }), " "));
}

// The commands that do something: those without verbs, and the verbs of the others.
std::vector<const CommandSpec*> leaves(const ProgramSpec& program) {
  std::vector<const CommandSpec*> all;
  for (const CommandSpec* command : public_commands(program)) {
    if (command->verbs.size() == 0) all.push_back(command);
    all.insert(all.end(), command->verbs.begin(), command->verbs.end());
  }
  return all;
}

// ---- bash ------------------------------------------------------------------------------------------------------------

// Shell that offers values of a kind.
std::string bash_offer(ValueKind kind, const std::vector<std::string_view>& choices) {
  switch (kind) {
    case ValueKind::file:
    case ValueKind::path: return "_resilver_files -f";
    case ValueKind::folder: return "_resilver_files -d";
    case ValueKind::scenario: return "_resilver_scenarios";
    case ValueKind::choice: return fmt::format("_resilver_words '{}'", fmt::join(choices, " "));
    case ValueKind::text: break;
  }
  return ":";
}

std::string bash_names(const CommandSpec& command) {
  std::string out;
  for (const OptionSpec& option : options_of(command)) {
    out += fmt::format("{}--{}", out.empty() ? "" : " ", long_name(option));
  }
  return out;
}

// "create --level" | "create -l"
std::string bash_pattern(const CommandSpec& command, const OptionSpec& option) {
  std::string out = fmt::format("'{} --{}'", command.name, long_name(option));
  if (letter(option) != 0) out += fmt::format(" | '{} -{}'", command.name, letter(option));
  return out;
}

// A word that is no option: what the first of the command's words is completes all of them, but text.
std::string bash_word(const CommandSpec& command) {
  for (const std::string_view word : words_of(command)) {
    if (kind_of(word) != ValueKind::text) return bash_offer(kind_of(word), choices_of(word));
  }
  return words_of(command).empty() ? fmt::format("_resilver_words '{}'", bash_names(command)) : ":";
}

constexpr const char* kBashHead = R"(# Completion of resilver for bash, made by `resilver generate`.

_resilver_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"); }

_resilver_files() {
  mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
  compopt -o filenames 2>/dev/null
}

_resilver_scenarios() {
  _resilver_files -f
  local shipped
  shipped=$("${COMP_WORDS[0]}" list 2>/dev/null | while read -r name _ && [[ $name ]]; do echo "$name"; done)
  mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$shipped" -- "$current")
}

_resilver() {
  local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} first=2 option= i
  COMPREPLY=()
  [[ $current == = ]] && current=  # bash takes --level=5 for three words
  if ((COMP_CWORD == 1)); then
)";

}  // namespace

std::string bash_completion(const ProgramSpec& program) {
  std::string out = kBashHead;
  const auto commands = public_commands(program);
  out += fmt::format("    _resilver_words '{} help --help --version'\n    return\n  fi\n  case $command in\n",
                     names(commands));
  out += fmt::format("    help)\n      ((COMP_CWORD > 2)) || _resilver_words '{}'\n      return ;;\n", names(commands));
  for (const CommandSpec* command : commands) {
    if (command->verbs.size() == 0) continue;
    out += fmt::format(
        "    {})\n      if ((COMP_CWORD == 2)); then\n        _resilver_words '{} --help'\n        return\n      fi\n",
        command->name, verb_names(*command));
    out += "      command+=\" ${COMP_WORDS[2]}\"\n      first=3 ;;\n";
  }
  out +=
      "  esac\n  for ((i = first; i < COMP_CWORD; i++)); do\n    case ${COMP_WORDS[i]} in\n"
      "      =) ;;\n      -?*) option=${COMP_WORDS[i]} ;;\n      *)\n        case \"$command $option\" in\n";
  for (const CommandSpec* command : leaves(program)) {
    for (const OptionSpec& option : command->options) {
      if (option.value == nullptr || !takes_all(option.value)) continue;
      out += fmt::format("          {}) ;;\n", bash_pattern(*command, option));
    }
  }
  out +=
      "          *) option= ;;\n        esac ;;\n    esac\n  done\n  if [[ $current == -* ]]; then\n    case $command "
      "in\n";
  for (const CommandSpec* command : leaves(program)) {
    out += fmt::format("      '{}') _resilver_words '{}' ;;\n", command->name, bash_names(*command));
  }
  out += "    esac\n    return\n  fi\n  case \"$command $option\" in\n";
  for (const CommandSpec* command : leaves(program)) {
    for (const OptionSpec& option : command->options) {
      if (option.value == nullptr) continue;
      out += fmt::format("    {}) {} ;;\n", bash_pattern(*command, option),
                         bash_offer(kind_of(option), choices_of(option)));
    }
    out += fmt::format("    '{} '*) {} ;;\n", command->name, bash_word(*command));
  }
  return out + "  esac\n}\n\ncomplete -F _resilver resilver\n";
}

// ---- zsh -------------------------------------------------------------------------------------------------------------

namespace {

// Between single quotes, in an argument of _arguments or _describe.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
      continue;
    }
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_offer(ValueKind kind, const std::vector<std::string_view>& choices) {
  switch (kind) {
    case ValueKind::file:
    case ValueKind::path: return "_files";
    case ValueKind::folder: return "_files -/";
    case ValueKind::scenario: return "_resilver_scenarios";
    case ValueKind::choice: return fmt::format("({})", fmt::join(choices, " "));
    case ValueKind::text: break;
  }
  return " ";
}

// "'(-l --level)'{-l+,--level=}'[meaning]:N:(0 1 5)'"
std::string zsh_option(const OptionSpec& option) {
  const std::string full = fmt::format("--{}{}", long_name(option), option.value != nullptr ? "=" : "");
  std::string out = fmt::format("'{}{}", option.repeated ? "*" : "", full);
  if (letter(option) != 0) {
    out = fmt::format("'(-{0} --{1})'{{-{0}{2},{3}}}'", letter(option), long_name(option),
                      option.value != nullptr ? "+" : "", full);
  }
  out += fmt::format("[{}]", zsh_text(meaning_of(option)));
  if (option.value != nullptr) {
    out += fmt::format(":{}{}:{}", takes_all(option.value) ? "*-*:" : "", zsh_text(option.value),
                       zsh_offer(kind_of(option), choices_of(option)));
  }
  return out + "'";
}

std::string zsh_arguments(const CommandSpec& command) {
  std::string out = "_arguments -s";
  for (const OptionSpec& option : options_of(command)) out += " \\\n        " + zsh_option(option);
  for (const std::string_view word : words_of(command)) {
    out += fmt::format(" \\\n        '{}:{}:{}'", takes_all(word) ? "*" : "", zsh_text(word),
                       zsh_offer(kind_of(word), choices_of(word)));
    if (takes_all(word)) break;  // whatever follows it is one of these, too
  }
  return out;
}

std::string zsh_list(std::string_view what, const std::vector<const CommandSpec*>& commands) {
  std::string out = fmt::format("    local -a known=(");
  for (const CommandSpec* command : commands) {
    out += fmt::format("\n      '{}:{}'", verb_of(*command), zsh_text(command->meaning));
  }
  return out + fmt::format("\n    )\n    _describe {} known\n    return\n", what);
}

constexpr const char* kZshHead = R"zsh(#compdef resilver
# Completion of resilver for zsh, made by `resilver generate`.

_resilver_scenarios() {
  local -a shipped=(${${(f)"$(resilver list 2>/dev/null)"}%% *})
  compadd -- ${shipped:#in}
  _files
}

_resilver() {
  if ((CURRENT == 2)); then
)zsh";

}  // namespace

std::string zsh_completion(const ProgramSpec& program) {
  std::string out =
      kZshHead + zsh_list("subcommand", public_commands(program)) + "  fi\n  shift words\n  ((CURRENT--))\n";
  for (const CommandSpec* command : public_commands(program)) {
    if (command->verbs.size() == 0) continue;
    out += fmt::format("  if [[ $words[1] == {} ]]; then\n    if ((CURRENT == 2)); then\n", command->name);
    out += zsh_list("verb", command->verbs) + "    fi\n";
    out += "    words[2]=\"$words[1] $words[2]\"\n    shift words\n    ((CURRENT--))\n  fi\n";
  }
  out += "  case $words[1] in\n";
  for (const CommandSpec* command : leaves(program)) {
    out += fmt::format("    '{}')\n      {} ;;\n", command->name, zsh_arguments(*command));
  }
  return out + "  esac\n}\n\n_resilver \"$@\"\n";
}

}  // namespace resilver::cli
