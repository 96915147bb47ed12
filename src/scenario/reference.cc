#include "scenario/reference.h"

#include <fmt/format.h>

#include <cctype>
#include <iterator>

#include "scenario/keys.h"
#include "scenario/verbs.h"

namespace resilver::scenario {
namespace {

constexpr const char* kMade = "<!-- Made by `make reference` of the tables that the parser reads; do not edit. -->\n";

const char* kind_heading(TargetKind kind) {
  switch (kind) {
    case TargetKind::disk: return "Disks";
    case TargetKind::node: return "Nodes";
    case TargetKind::link: return "Links";
    case TargetKind::volume: return "The volume";
    case TargetKind::site: return "Sites";
    case TargetKind::arbiter: return "The arbiter";
  }
  return "?";
}

const char* kind_targets(TargetKind kind) {
  switch (kind) {
    case TargetKind::disk:
      return "`@serving.disk0`, `A.disk1`, `@spare`, `@rebuilding`, `@any`, `A.journal` where it says so.";
    case TargetKind::node: return "`A`, `@serving`, `@secondary`, `@secondary:2`, `@rebuilding`, `@any`.";
    case TargetKind::link: return "`A-B` (both ways), `A>B`, `client-A`, `A-arbiter`, `@serving-@secondary`.";
    case TargetKind::volume: return "There is one: `target` may be left out.";
    case TargetKind::site: return "The name of a site of the contender.";
    case TargetKind::arbiter: return "There is one: `target` may be left out.";
  }
  return "";
}

std::string sentence(std::string_view text) {
  std::string sentence(text);
  sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(sentence[0])));
  return sentence + ".";
}

std::string verb_text(const VerbInfo& verb) {
  std::string text = fmt::format("\n### `{}`\n\n{} ", verb.name, sentence(verb.meaning));
  text += !verb.lasts     ? "It has no end that could be set."
          : verb.must_end ? "`for` says how long."
                          : "`for` or `until` ends it.";
  if (verb.at_journals) text += " Also at a journal.";
  text += "\n\n";
  if (!verb.arguments.empty()) text += "| argument | values | default | |\n|---|---|---|---|\n";
  for (const VerbArgument& argument : verb.arguments) {
    text += fmt::format("| `{}` | {} | {} | {} |\n", argument.key, argument.values,
                        argument.by_default.empty() ? "required" : argument.by_default, argument.meaning);
  }
  if (!verb.needs_one_of.empty()) text += fmt::format("\nAt least one of {}.\n", verb.needs_one_of);
  if (!verb.arguments.empty()) text += "\n";
  return text + fmt::format("* virtual time: {}\n* real time: {}\n", verb.in_virtual, verb.in_real);
}

}  // namespace

std::string verbs_reference() {
  std::string text = fmt::format(
      "# Verbs\n\n{}\nWhat an event may do: `do = \"disk.fail\"`. Keys of an event: "
      "[scenario-keys.md](scenario-keys.md); how true to life each is: [fault-model.md](fault-model.md).\n",
      kMade);
  for (const TargetKind kind : {TargetKind::disk, TargetKind::node, TargetKind::link, TargetKind::volume,
                                TargetKind::site, TargetKind::arbiter}) {
    text += fmt::format("\n## {}\n\n{}\n", kind_heading(kind), kind_targets(kind));
    for (const VerbInfo& verb : verb_table())
      if (verb.target == kind) text += verb_text(verb);
  }
  return text;
}

std::string keys_reference() {
  std::string text = fmt::format(
      "# Keys of a scenario file\n\n{}\nSizes: `64K`, `1GiB`; durations: `500ms`, `2min`; rates: "
      "`60MiB/s`, `10Gbit/s`, all in quotes. How they play together: [scenarios.md](scenarios.md).\n",
      kMade);
  for (const KeySection* section : key_sections()) {
    text += fmt::format("\n## {}\n\n", section->name);
    if (!section->meaning.empty()) text += fmt::format("{}\n\n", section->meaning);
    text += "| key | values | default | |\n|---|---|---|---|\n";
    for (const KeyInfo& key : section->keys)
      text += fmt::format("| `{}` | {} | {} | {} |\n", key.key, key.values, key.by_default, key.meaning);
  }
  return text;
}

}  // namespace resilver::scenario
