// src/cli: what the program understands on its command line, as data. From each command's CommandSpec come parsing, help,
// man pages and completion; nobody else reads a command line or writes such texts. It knows src/base alone, and prints
// nothing.
//
// A value is described by the name that help shows for it, and that name says what it is: "FILE", "IMAGE", "PATH" a file,
// "DIR" a folder, "DIR|IMAGE" either, "SCENARIO" a file or the name of a scenario that ships, "resync|bitmap" (small letters)
// one of these words, anything else text. "FILE..." stands for all words that follow.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace resilver::cli {

inline constexpr const char* kProgramName = "resilver";

class CommandLine;

struct OptionSpec {
  const char* name;   // "size", or "level,l" with a short form
  const char* value;  // null: a switch
  const char* meaning;
  const char* otherwise = nullptr;  // what it is where it is not given, if that is a fixed text
  const char* choices = nullptr;    // "hdd|nvme": its words, where `value` is only what they are called
  bool repeated = false;            // may be given several times
  const char* heading = nullptr;    // of the group that begins here; the first group is "Options"
};

struct ExitCode {
  int code;
  const char* meaning;
};

// Text is wrapped where it is printed; an empty line separates paragraphs.
struct CommandSpec {
  const char* name;             // "create", "volume attach"
  const char* meaning;          // in lists, a line
  const char* words = "";       // what is no option, in order: "DIR|IMAGE... FILE"; how many there are `run` checks
  const char* usage = nullptr;  // lines of what follows the name; null: `words`, then "[OPTIONS]" if it has some
  const char* description;
  std::initializer_list<OptionSpec> options = {};
  std::initializer_list<const char*> examples;  // command lines
  std::initializer_list<ExitCode> exits;
  std::initializer_list<const CommandSpec*> verbs = {};  // then it does nothing by itself
  int (*run)(const CommandLine& line) = nullptr;
  bool internal = false;  // for the program itself: not in man pages and completion
};

struct CommandGroup {
  const char* heading;
  std::initializer_list<const CommandSpec*> commands;
};

struct ProgramSpec {
  const char* meaning;  // a line
  const char* description;
  std::initializer_list<CommandGroup> groups;
  std::initializer_list<const char*> examples;
};

inline constexpr OptionSpec kHelpOption = {"help,h", nullptr, "this text"};
inline constexpr ExitCode kBadUsageExit = {2, "bad usage"};
inline constexpr ExitCode kInterruptedExit = {130, "interrupted"};

// ---- reading a spec --------------------------------------------------------------------------------------------------

enum class ValueKind : std::uint8_t { text, file, folder, path, scenario, choice };

std::string_view long_name(const OptionSpec& option);  // without dashes
char letter(const OptionSpec& option);                 // 0: none
ValueKind kind_of(std::string_view value);
ValueKind kind_of(const OptionSpec& option);
bool takes_all(std::string_view value);                            // "FILE..."
std::vector<std::string_view> choices_of(std::string_view value);  // "a|b" split
std::vector<std::string_view> choices_of(const OptionSpec& option);
std::vector<std::string_view> words_of(const CommandSpec& command);
// Its meaning with its choices and its default.
std::string meaning_of(const OptionSpec& option);
// "resilver create DIR --level L [OPTIONS]", one for each way to use it.
std::vector<std::string> usages_of(const CommandSpec& command);
std::string_view verb_of(const CommandSpec& command);  // "attach" of "volume attach"
// Its options, and --help.
std::vector<OptionSpec> options_of(const CommandSpec& command);
// The commands that are not internal.
std::vector<const CommandSpec*> public_commands(const ProgramSpec& program);

}  // namespace resilver::cli
