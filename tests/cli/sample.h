// A small program's specs, with one of each kind of option and word.
#pragma once

#include "cli/command_line.h"

namespace resilver::cli {

inline int run_nothing(const CommandLine&) { return 0; }

inline constexpr CommandSpec kMake = {
    .name = "make",
    .meaning = "make a thing",
    .words = "DIR|IMAGE... FILE",
    .description = "Makes a thing.\n\nAnd says 'it's *made*_'.",
    .options =
        {
            {"level,l", "0|1|5", "the level"},
            {"size,z", "SIZE", "of it", "64K"},
            {"devices", "FILE...", "on these"},
            {.name = "set", .value = "KEY=VALUE", .meaning = "change a key", .repeated = true},
            {.name = "disk", .value = "MODEL", .meaning = "a disk", .choices = "hdd|nvme", .heading = "Disks"},
            {"count", "N", "how many"},
            {"force", nullptr, "whatever [is] there: yes"},
        },
    .examples = {"resilver make vm out \\x"},
    .exits = {{0, "made"}, kBadUsageExit},
    .run = run_nothing,
};
inline constexpr CommandSpec kList = {
    .name = "list",
    .meaning = "all things",
    .description = "Lists.",
    .examples = {"resilver list"},
    .exits = {{0, "done"}},
    .run = run_nothing,
};
inline constexpr CommandSpec kShow = {
    .name = "thing show",
    .meaning = "show it",
    .words = "red|green",
    .description = "Shows.",
    .options = {{"config", "FILE", "which"}},
    .examples = {"resilver thing show red"},
    .exits = {{0, "done"}},
    .run = run_nothing,
};
inline constexpr CommandSpec kThing = {
    .name = "thing",
    .meaning = "work on a thing",
    .usage = "VERB [OPTIONS]",
    .description = "Works.",
    .examples = {"resilver thing show red"},
    .exits = {{0, "done"}},
    .verbs = {&kShow},
};
inline constexpr CommandSpec kInner = {
    .name = "inner",
    .meaning = "for itself",
    .description = "Inner.",
    .examples = {"resilver inner"},
    .exits = {{0, "done"}},
    .run = run_nothing,
    .internal = true,
};
inline constexpr ProgramSpec kSample = {
    .meaning = "a sample",
    .description = "Does things.",
    .groups = {{"Things", {&kMake, &kList, &kThing}}, {"Itself", {&kInner}}},
    .examples = {"resilver list"},
};

}  // namespace resilver::cli
