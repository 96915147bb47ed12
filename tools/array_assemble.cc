// The commands that do long work on an array: `assemble`, `rebuild`, `scrub`; and `stop`.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <ranges>

#include "base/units.h"
#include "tools/array_session.h"
#include "tools/array_update.h"
#include "tools/command.h"
#include "tools/commands.h"

namespace resilver::tools {
namespace {

constexpr OptionSpec kForce = {
    "force", nullptr, "leave out images that cannot be used; start a dirty and degraded array (blocks may be wrong)"};
constexpr OptionSpec kForceAssemble = {
    "force", nullptr,
    "leave out images that cannot be used; start a dirty and degraded array (blocks may be wrong); while too few "
    "members are current, take the freshest of those back that missed writes (what they missed is lost)"};
constexpr OptionSpec kSpeedMax = {"speed-max", "RATE", "bytes per second and member, such as 200M; default no limit"};

void print_found(const ArraySession& session) {
  for (const raid::DiskFound& found : session.report()) {
    std::string text = name(found.verdict);
    if (found.slot) text += fmt::format(" {}", *found.slot);
    if (found.verdict != raid::DiskVerdict::unusable) text += fmt::format(", events {}", found.events);
    if (!found.why.empty()) text += ": " + found.why;
    fmt::print("  {:<14} {}\n", found.name, text);
  }
}

std::string rate_text(const raid::RecoveryStatus& recovery) {
  std::string text = fmt::format("{} of {} of each member", name(recovery.kind), format_size(recovery.done_bytes));
  if (recovery.rate > 0) text += " at " + format_rate(recovery.rate);
  if (recovery.limited_by != raid::LimitedBy::nothing)
    text += fmt::format(", limited by {}", name(recovery.limited_by));
  return text;
}

// One line for what was done, one for the state, one for what is left.
void print_end(ArraySession& session) {
  const raid::ArrayStatus status = session.array().status();
  if (status.last_recovery.kind != raid::RecoveryKind::none) fmt::print("{}\n", rate_text(status.last_recovery));
  fmt::print("{}: {}\n", session.place().label, state_text(session.array()));
  if (const std::string step = next_step(session.array(), place_words(session.place())); !step.empty()) {
    fmt::print("{}\n", step);
  }
}

// What it could not restore on the way.
Status tell_lost_blocks(ArraySession& session) {
  const std::vector<std::uint64_t> lost = session.array().status().lost_blocks;
  if (lost.empty()) return {};
  return fail(
      Errc::medium,
      fmt::format("{}: {}{} blocks of 4096 bytes cannot be restored, the first at byte {} of the array: too many "
                  "members cannot read them; writing them anew (import) heals them, scrub names all",
                  session.place().label, lost.size() < raid::kMaxListed ? "" : "at least ", lost.size(), lost[0]));
}

bool started_without_journal(ArraySession& session) {
  const bool had = std::ranges::any_of(session.disks(), [](const Disk& disk) {
    return disk.super && (disk.super->feature_map & raid::kFeatureJournal) != 0;
  });
  const raid::ArrayStatus status = session.array().status();
  return had && std::ranges::find(status.members, raid::MemberState::journal, &raid::MemberStatus::state) ==
                    status.members.end();
}

struct Work {
  Place place;
  StartOptions start;
  Update update;  // assemble
};

// Reads DIR|IMAGE..., --force and --speed-max. Nothing if the line makes no sense: `code` says so.
std::optional<Work> read_work(const CommandLine& line, int& code) {
  Work work;
  const auto place = find_place(line.words);
  if (!place) {
    code = line.words.empty() ? refuse_usage(line.command, place.error().what) : refuse(line.command, place.error());
    return std::nullopt;
  }
  const auto speed = line.rate_of("speed-max");
  if (!speed) {
    code = refuse_usage(line.command, speed.error().what);
    return std::nullopt;
  }
  work.place = *place;
  work.start.force = line.has("force");
  work.start.leave_out = work.start.force;
  work.start.take_stale = work.start.force && line.command == "assemble";
  work.start.tuning.speed_max = *speed;
  return work;
}

// The verdicts, and how the array would start. Nothing is written.
Task<Status> look(ArraySession& session, const Work& work) {
  const Status started = co_await session.open_to_read(work.place, work.start);
  print_found(session);
  if (!started) co_return started;
  fmt::print("{}: {}, only read: nothing was written\n", session.place().label, state_text(session.array()));
  co_return Status{};
}

// A session of its own: the array starts from what is on the disks then.
Task<Status> update(ArraySession& session, const Work& work) {
  if (Status opened = co_await session.open(work.place, uring::Access::read_write); !opened) co_return opened;
  co_return co_await apply_update(session, work.update);
}

// The same over disks that are kept as they are, up to where long work would begin.
Task<Status> try_out(ArraySession& session, const Work& work) {
  if (Status opened = co_await session.open_to_write(work.place, true); !opened) co_return opened;
  if (!work.update.word.empty()) {
    if (Status updated = co_await apply_update(session, work.update); !updated) co_return updated;
    say(true, fmt::format("{}: --update={}", session.place().label, work.update.word));
  }
  StartOptions start = work.start;
  start.tuning.hold_recovery = true;
  if (Status started = co_await session.start(start); !started) co_return started;
  print_found(session);
  say(true, fmt::format("{}: {}", session.place().label, state_text(session.array())));
  co_return Status{};
}

Task<Status> assemble(ArraySession& session, const Work& work) {
  if (Status opened = co_await session.open(work.place, uring::Access::read_write); !opened) co_return opened;
  if (Status started = co_await session.start(work.start); !started) co_return started;
  print_found(session);
  std::fflush(stdout);
  if (Status done = co_await session.finish_recovery(); !done) co_return done;
  if (Status stopped = co_await session.stop(); !stopped) co_return stopped;
  print_end(session);
  if (started_without_journal(session)) {
    fmt::print("it goes on without its journal; resilver add {} DISK --journal gives it another\n",
               place_words(session.place()));
  }
  co_return tell_lost_blocks(session);
}

Task<Status> rebuild(ArraySession& session, const Work& work) {
  if (Status opened = co_await session.open(work.place, uring::Access::maintain); !opened) co_return opened;
  if (Status started = co_await session.start(work.start); !started) co_return started;
  if (Status done = co_await session.finish_recovery(); !done) co_return done;
  const bool full = session.array().redundancy_full();
  if (Status stopped = co_await session.stop(); !stopped) co_return stopped;
  const bool worked = session.array().status().last_recovery.kind != raid::RecoveryKind::none;
  if (full && !worked) fmt::print("nothing to rebuild\n");
  print_end(session);
  if (!full) co_return fail(Errc::unavailable, "redundancy is not full: the array needs another disk");
  co_return tell_lost_blocks(session);
}

// ---- scrub ----

void print_mismatches(const raid::ArrayStatus& status, bool locate) {
  constexpr std::size_t kShown = 20;
  for (std::size_t i = 0; i < std::min(kShown, status.mismatches.size()); ++i) {
    const raid::Mismatch& mismatch = status.mismatches[i];
    std::string text = fmt::format("  stripe {}, byte {} of each member", mismatch.stripe, mismatch.member_offset);
    if (locate)
      text += mismatch.slot ? fmt::format(": slot {} is wrong", *mismatch.slot) : ": no single member explains it";
    if (mismatch.logical) text += fmt::format(", byte {} of the array", *mismatch.logical);
    fmt::print("{}\n", text);
  }
  if (status.mismatches.size() > kShown) fmt::print("  and more\n");
}

// What nothing can restore: the places, then how much of each member. Such a row is good again when all its lost blocks are
// written.
Status tell_lost(const ArraySession& session, const raid::ArrayStatus& status) {
  constexpr std::size_t kShown = 20;
  if (status.lost_row_count == 0) return {};
  const auto name_of = [&status](std::uint32_t slot) {
    const std::string& name = status.members[slot].name;
    return name.empty() ? fmt::format("slot {}", slot) : name;
  };
  fmt::print("{} rows of 4096 bytes cannot be restored:\n", status.lost_row_count);
  for (const raid::LostRow& row : status.lost_rows | std::views::take(kShown)) {
    fmt::print("  stripe {}, byte {} of each member: unreadable on {}{}\n", row.stripe, row.member_offset,
               fmt::join(row.slots | std::views::transform(name_of), ", "),
               row.logical.empty() ? "" : fmt::format("; lost: byte {} of the array", fmt::join(row.logical, ", ")));
  }
  if (status.lost_row_count > kShown) fmt::print("  and {} more\n", status.lost_row_count - kShown);
  for (std::uint32_t slot = 0; slot < status.lost_by_slot.size(); ++slot) {
    if (status.lost_by_slot[slot] == 0) continue;
    fmt::print("  {}: {} of these rows are unreadable\n", name_of(slot), status.lost_by_slot[slot]);
  }
  return fail(Errc::medium,
              fmt::format("{}: {} rows cannot be restored: too many members cannot read them; writing the "
                          "lost blocks anew (import) heals them",
                          session.place().label, status.lost_row_count));
}

// Compares, and does nothing else: what else is to be done is said.
Task<Status> scrub(ArraySession& session, const Work& work, raid::ScrubOptions options, bool& differs) {
  if (Status opened = co_await session.open(work.place, uring::Access::maintain); !opened) co_return opened;
  StartOptions start = work.start;
  start.tuning.hold_recovery = true;
  start.check = [&session](const raid::Array& array) -> Status {
    if (const Status fine = array.may_scrub(); fine || fine.error().code != Errc::unavailable) return fine;
    return fail(Errc::unavailable,
                fmt::format("{}: {}: there is nothing to compare before it is whole; {}", session.place().label,
                            state_text(array), next_step(array, place_words(session.place()))));
  };
  if (Status started = co_await session.start(std::move(start)); !started) co_return started;
  if (Status done = co_await session.scrub(options); !done) co_return done;
  if (Status stopped = co_await session.stop(); !stopped) co_return stopped;
  const raid::ArrayStatus status = session.array().status();
  fmt::print("{}\n", rate_text(status.last_recovery));
  fmt::print("{}: mismatch_cnt {}{}\n", session.place().label, status.mismatch_sectors,
             status.mismatch_sectors == 0 ? ""
             : options.repair             ? ", repaired"
                                          : ", not repaired (--repair)");
  if (status.healed_blocks > 0) fmt::print("{} unreadable blocks rewritten\n", status.healed_blocks);
  print_mismatches(status, options.locate);
  differs = status.mismatch_sectors != 0 && !options.repair;
  if (const std::string step = next_step(session.array(), place_words(session.place())); !step.empty()) {
    fmt::print("{}\n", step);
  }
  co_return tell_lost(session, status);
}

// ---- stop ----

// Asks whoever works on the images to end, and waits for that.
Status end_holders(const Place& place) {
  constexpr int kPatienceTenths = kEndedPatience / (100 * kMillisecond);
  for (const pid_t pid : holders_of(place.paths)) {
    const std::string name = name_of_process(pid);
    if (name.empty()) continue;
    if (name != "resilver") {
      return fail(Errc::busy,
                  fmt::format("{}: held by process {}, which is no resilver: end it yourself", place.label, pid));
    }
    fmt::print("process {} works on {}: asked to stop\n", pid, place.label);
    std::fflush(stdout);
    kill(pid, SIGTERM);
  }
  for (int i = 0; i < kPatienceTenths && !holders_of(place.paths).empty(); ++i) usleep(100'000);
  if (!holders_of(place.paths).empty()) return fail(Errc::busy, fmt::format("{}: still held after 30 s", place.label));
  return {};
}

Task<Status> tell_state(ArraySession& session, const Place& place) {
  if (Status opened = co_await session.open(place, uring::Access::read_only); !opened) co_return opened;
  bool dirty = false;
  for (const Disk& disk : session.disks()) {
    dirty = dirty || (disk.super && disk.super->resync_offset_sectors != raid::kResyncDone);
  }
  fmt::print("{}: stopped, {}\n", place.label,
             dirty ? "not clean; this resyncs it: resilver assemble " + place_words(place) : "clean");
  co_return Status{};
}

Status read_update(const CommandLine& line, Update& update) {
  update.word = line.text("update");
  update.name = line.text("name");
  if (line.has("uuid")) {
    const auto uuid = raid::parse_uuid(line.text("uuid"));
    if (!uuid) return fail(uuid.error().code, "--uuid: " + uuid.error().what);
    update.uuid = *uuid;
  }
  return check_update(update);
}

template <typename Run>
int long_work(const CommandLine& line, Run run) {
  int code = kDone;
  const auto work = read_work(line, code);
  return work ? run(line, *work) : code;
}

int run_assemble(const CommandLine& given) {
  return long_work(given, [](const CommandLine& line, Work work) {
    const auto session = [&work](auto step) {
      return run_session("assemble", [&work, step](ArraySession& one) { return step(one, work); });
    };
    if (line.has("read-only")) {
      if (line.has("update")) return refuse_usage("assemble", "--update writes, --read-only does not");
      return session(look);
    }
    if (line.has("update")) {
      if (const Status read = read_update(line, work.update); !read) return refuse_usage("assemble", read.error().what);
    }
    if (line.has("dry-run")) return session(try_out);
    if (line.has("update")) {
      if (const int code = session(update); code != kDone) return code;
    }
    return session(assemble);
  });
}

int run_rebuild(const CommandLine& given) {
  return long_work(given, [](const CommandLine&, const Work& work) {
    return run_session("rebuild", [&work](ArraySession& session) { return rebuild(session, work); });
  });
}

int run_scrub(const CommandLine& given) {
  return long_work(given, [](const CommandLine& line, const Work& work) {
    const raid::ScrubOptions options{line.has("repair"), line.has("locate")};
    bool differs = false;
    const int code = run_session("scrub", [&](ArraySession& session) { return scrub(session, work, options, differs); });
    return code == kDone && differs ? kFailed : code;
  });
}

int run_stop(const CommandLine& given) {
  return long_work(given, [](const CommandLine&, const Work& work) {
    if (Status ended = end_holders(work.place); !ended) return refuse("stop", ended.error());
    return run_session("stop", [&work](ArraySession& session) { return tell_state(session, work.place); });
  });
}

}  // namespace

constexpr CommandSpec kAssembleCommand = {
    .name = "assemble",
    .meaning = "find an array's members, bring it up to date",
    .words = "DIR|IMAGE...",
    .description =
        "Finds the members of an array among a folder's images, or the images and block devices given, in any order; "
        "says "
        "what each is; resyncs, rebuilds on spares and finishes what was interrupted; leaves the array clean.",
    .options =
        {
            kForceAssemble,
            kSpeedMax,
            {"read-only", nullptr, "say what each image is, and how the array would start; write nothing"},
            kDryRun,
            {"update", "WORD", "first change a field of every member, as mdadm does", nullptr,
             "resync|name|uuid|no-bbl|force-no-bbl|bbl|bitmap|no-bitmap|devicesize|layout-original|layout-alternate"},
            {"name", "NAME", "the array's new name, with --update=name"},
            {"uuid", "UUID", "the array's new UUID, with --update=uuid"},
        },
    .examples = {"resilver assemble vm", "resilver assemble vm/disk2.img vm/disk0.img vm/disk1.img",
                 "resilver assemble vm --force --speed-max 200M", "resilver assemble vm --read-only",
                 "resilver assemble vm --update=force-no-bbl"},
    .exits = {{0, "done"},
              {1, "refused (nothing was written) or failed, also where blocks could not be restored"},
              cli::kBadUsageExit,
              {130, "interrupted (the next goes on)"}},
    .run = run_assemble,
};

constexpr CommandSpec kRebuildCommand = {
    .name = "rebuild",
    .meaning = "restore redundancy",
    .words = "DIR|IMAGE...",
    .description =
        "Restores redundancy: rebuilds lost members on spares and added disks, copies replacements, catches up "
        "re-added "
        "ones. Interrupted at any moment (also by SIGKILL), the next rebuild goes on at the last checkpoint.",
    .options = {kSpeedMax, kForce},
    .examples = {"resilver rebuild vm", "resilver rebuild vm --speed-max 200M"},
    .exits = {{0, "redundancy is full"},
              {1, "it is not, blocks could not be restored, or refused"},
              cli::kBadUsageExit,
              {130, "interrupted (the next goes on)"}},
    .run = run_rebuild,
};

constexpr CommandSpec kScrubCommand = {
    .name = "scrub",
    .meaning = "compare all redundancy with the data",
    .words = "DIR|IMAGE...",
    .description =
        "Compares all redundancy with the data and counts what does not match, as md does (mismatch_cnt, in sectors); "
        "names what cannot be read and not be restored. Does nothing else: an array that is not whole, or that a "
        "resync "
        "is due for, is refused with the command that does that. Others may read the array meanwhile.",
    .options = {{"repair", nullptr, "rewrite what does not match: parity from data"},
                {"locate", nullptr, "RAID 6: name the one wrong member, and repair that"},
                kSpeedMax,
                kForce},
    .examples = {"resilver scrub vm", "resilver scrub vm --repair --locate"},
    .exits = {{0, "all matches or was repaired"},
              {1, "mismatches remain, rows cannot be restored, or refused"},
              cli::kBadUsageExit,
              cli::kInterruptedExit},
    .run = run_scrub,
};

constexpr CommandSpec kStopCommand = {
    .name = "stop",
    .meaning = "end whoever works on an array",
    .words = "DIR|IMAGE...",
    .description =
        "No process keeps an array running, so there is mostly nothing to stop: if a resilver command works on the "
        "images "
        "now, it is asked to end (as by Ctrl-C: it notes how far it was) and waited for. Then says whether the array "
        "is "
        "clean.",
    .examples = {"resilver stop vm"},
    .exits = {{0, "nobody uses the array any more"}, {1, "somebody does"}, cli::kBadUsageExit},
    .run = run_stop,
};

}  // namespace resilver::tools
