// The commands that change who is a member: `fail`, `remove`, `add`, `re-add`, `replace`. They are instant: they change
// superblocks and nothing else, and say what remains to be done.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/units.h"
#include "raid/discovery.h"
#include "raid/journal.h"
#include "tools/array_partition.h"
#include "tools/array_session.h"
#include "tools/array_signature.h"
#include "tools/command.h"
#include "tools/commands.h"

namespace resilver::tools {
namespace {

namespace fs = std::filesystem;

constexpr OptionSpec kForce = {
    "force", nullptr, "leave out images that cannot be used; start a dirty and degraded array (blocks may be wrong)"};

struct Change {
  std::string command;
  Place place;
  std::string word;      // MEMBER as the user wrote it
  std::string path;      // add, re-add: of the disk that comes
  bool made = false;     // it is an image that was made for this
  bool journal = false;  // it becomes the journal
  StartOptions start;
  bool force = false;
  bool dry_run = false;
  std::string stand_in;       // dry run: of the image that would be made
  bool write_mostly = false;  // add
};

// DIR|IMAGE... MEMBER
std::optional<Change> read_change(const CommandLine& line, int& code) {
  if (line.words.size() < 2) {
    code = refuse_usage(line.command, "expected a folder or images, then a member");
    return std::nullopt;
  }
  Change change;
  change.command = line.command;
  change.word = line.words.back();
  const auto place = find_place({line.words.begin(), line.words.end() - 1});
  if (!place) {
    code = refuse(line.command, place.error());
    return std::nullopt;
  }
  change.place = *place;
  change.force = change.start.force = change.start.leave_out = line.has("force");
  change.write_mostly = line.has("write-mostly");
  change.start.tuning.hold_recovery = true;
  change.dry_run = line.has("dry-run");
  return change;
}

// ---- members that are there: fail, remove, replace ----

Result<std::string> member_named(const ArraySession& session, const std::string& word) {
  std::vector<std::string> paths;
  for (const Disk& disk : session.disks()) paths.push_back(disk.path);
  if (const auto index = find_path(paths, word)) return session.disks()[*index].name;
  if (const auto slot = parse_count(word)) {
    for (const raid::DiskFound& found : session.report()) {
      const bool holds = found.verdict == raid::DiskVerdict::member || found.verdict == raid::DiskVerdict::rebuilding;
      if (holds && found.slot == *slot) return found.name;
    }
  }
  return fail(Errc::not_found, fmt::format("{}: no member of {} has this name or slot", word, session.place().label));
}

using Act = Task<Status> (*)(raid::Array& array, std::string name);

Task<Status> fail_one(raid::Array& array, std::string name) { co_return co_await array.fail_member(std::move(name)); }

// The disk itself notes that somebody failed it: assemble --force takes back what failed by itself, not this.
Task<Status> note_failed_by_hand(ArraySession& session, const std::string& name) {
  const Disk* disk = session.find_disk(name);
  if (disk == nullptr) co_return Status{};
  const raid::LeafPoolOwner leaves(new raid::LeafPool(session.env().scheduler()));
  auto super = (co_await raid::find_superblock(*leaves, disk->device(), kReadPatience)).super;
  if (!super) co_return Status{};
  super->failed_by_hand = true;
  const auto noted = raid::writable_superblock(*super, disk->image->size_bytes());
  if (!noted || co_await session.write_block(*disk, raid::kSuperOffsetSectors, *noted)) co_return Status{};
  co_return fail(Errc::io,
                 fmt::format("{}: is faulty now, but cannot be written: assemble --force might take it back", name));
}

Task<Status> remove_one(raid::Array& array, std::string name) { co_return co_await array.remove_disk(std::move(name)); }
Task<Status> replace_one(raid::Array& array, std::string name) {
  co_return co_await array.replace_member(std::move(name));
}

// As the next command has to name the array: with the disk that came.
Place next_place(const ArraySession& session, const Change& change) {
  Place place = session.place();
  std::error_code error;
  const fs::path folder = fs::absolute(change.path, error).parent_path();
  const bool inside = !place.folder.empty() && fs::equivalent(folder, place.folder, error);
  if (change.path.empty() || inside) return place;
  place.folder.clear();
  place.paths.clear();
  for (const Disk& disk : session.disks()) place.paths.push_back(disk.path);
  return place;
}

void print_state(ArraySession& session, const Change& change) {
  const Place place = next_place(session, change);
  say(change.dry_run, fmt::format("{}: {}", session.place().label, state_text(session.array())));
  if (const std::string step = next_step(session.array(), place_words(place)); !step.empty()) say(change.dry_run, step);
  if (!session.place().folder.empty() && place.folder.empty()) {
    say(change.dry_run, fmt::format("it is not in the folder {}: name all images from now on: {}",
                                    session.place().folder, place_words(place)));
  }
}

Task<Status> change_member(ArraySession& session, const Change& change, Act act, const char* said) {
  if (Status opened = co_await session.open_to_write(change.place, change.dry_run); !opened) co_return opened;
  Result<std::string> name = fail(Errc::not_found);
  StartOptions start = change.start;
  start.check = [&](const raid::Array& array) {
    name = member_named(session, change.word);
    if (!name) return Status(std::unexpected(name.error()));
    return act == fail_one     ? array.may_fail(*name)
           : act == remove_one ? array.may_remove(*name)
                               : array.may_replace(*name);
  };
  if (Status started = co_await session.start(std::move(start)); !started) co_return started;
  if (Status done = co_await act(session.array(), *name); !done) co_return done;
  if (Status stopped = co_await session.stop(); !stopped) co_return stopped;
  if (act == fail_one) {
    if (Status noted = co_await note_failed_by_hand(session, *name); !noted) co_return noted;
  }
  say(change.dry_run, fmt::format("{} {}", *name, said));
  print_state(session, change);
  co_return Status{};
}

// ---- disks that come: add, re-add ----

// In the place of a blank one that an add left which was killed.
Status make_image(Change& change, std::uint64_t bytes) {
  struct stat status;
  if (change.dry_run && (is_unfinished(change.path) || stat(change.path.c_str(), &status) != 0)) {
    auto made = make_stand_in(bytes);
    if (!made) return std::unexpected(made.error());
    change.stand_in = std::move(*made);
    return {};
  }
  if (is_unfinished(change.path)) unlink(change.path.c_str());
  Status made = uring::create_image(change.path, bytes, uring::Allocation::sparse);
  if (!made && made.error().code == Errc::exists) {
    return fail(Errc::exists, fmt::format("{}: there already; without --size it is taken as it is", change.path));
  }
  change.made = made.has_value();
  return made;
}

// Finds the disk that is to come, and takes it out of what is assembled.
Status choose_disk(Change& change, std::uint64_t make_bytes) {
  std::vector<std::string>& paths = change.place.paths;
  if (const auto index = find_path(paths, change.word)) {
    change.path = paths[*index];
    paths.erase(paths.begin() + static_cast<std::ptrdiff_t>(*index));
    return make_bytes > 0 ? make_image(change, make_bytes) : Status{};
  }
  const bool in_folder = !change.place.folder.empty() && !change.word.contains('/');
  change.path = in_folder ? (fs::path(change.place.folder) / change.word).string() : change.word;
  if (in_folder && fs::path(change.path).extension().empty()) change.path += ".img";
  if (make_bytes > 0) return make_image(change, make_bytes);
  for (const std::string& path : {change.path, change.word}) {
    const auto partition = partition_name(path);
    if (!partition) continue;
    change.path = path;
    const auto found = find_partition(*partition);
    return found ? Status{} : Status(std::unexpected(found.error()));
  }
  struct stat status;
  if (stat(change.path.c_str(), &status) == 0) return {};
  if (in_folder && stat(change.word.c_str(), &status) == 0) {
    change.path = change.word;
    return {};
  }
  return fail(Errc::not_found, fmt::format("{}: {} (--size SIZE makes an image)", change.path, std::strerror(errno)));
}

// The superblock on the disk that comes, if it is one of this array.
const raid::Superblock* own_superblock(const Disk& coming, const std::vector<Disk>& others) {
  if (!coming.super) return nullptr;
  const bool same = std::ranges::any_of(
      others, [&](const Disk& other) { return other.super && other.super->set_uuid == coming.super->set_uuid; });
  return same ? &*coming.super : nullptr;
}

// A disk that the freshest superblock counts as a member or spare is in use, whatever name it comes by.
Status check_not_in_use(const Disk& coming, const std::vector<Disk>& others) {
  const raid::Superblock* own = own_superblock(coming, others);
  if (own == nullptr) return {};
  const raid::Superblock* fresh = freshest(others, own->set_uuid);  // what it says of itself does not count
  const std::uint16_t role = own->dev_number < fresh->roles.size() ? fresh->roles[own->dev_number] : raid::kRoleSpare;
  const bool current = own->events + 1 >= fresh->events;
  if (current && role < fresh->raid_disks) {
    return fail(Errc::exists, fmt::format("{}: it is in use, in slot {}", coming.name, role));
  }
  if (current && role == raid::kRoleSpare)
    return fail(Errc::exists, fmt::format("{}: it is a spare already", coming.name));
  return {};
}

Task<Result<Disk>> open_coming(ArraySession& session, const Change& change) {
  const uring::Access access = change.dry_run ? uring::Access::read_only : uring::Access::read_write;
  const bool stands_in = !change.stand_in.empty();
  auto opened = co_await open_disks(session.env(), {stands_in ? change.stand_in : change.path}, access);
  if (!opened) co_return std::unexpected(opened.error());
  if (Status there = check_opened(*opened); !there) co_return std::unexpected(there.error());
  if (change.dry_run) lay_over(session.env().scheduler(), *opened);
  Disk coming = std::move(opened->front());
  if (stands_in) {
    coming.path = change.path;
    coming.name = fs::path(change.path).filename().string();
  }
  if (session.find_disk(coming.name) != nullptr) coming.name = coming.path;
  if (Status free = check_not_in_use(coming, session.disks()); !free) co_return std::unexpected(free.error());
  co_return coming;
}

// Nobody's data is overwritten unasked.
Status check_free_to_use(const Disk& coming, const std::vector<Disk>& others, bool force) {
  if (force || own_superblock(coming, others) != nullptr) return {};
  const auto holds = what_it_holds(coming.path);
  if (!holds) return std::unexpected(holds.error());
  if (*holds) return fail(Errc::exists, fmt::format("{}: holds {} (--force overwrites it)", coming.path, **holds));
  return {};
}

// A re-add that bits do not allow: with the command that copies everything.
Status with_add(const ArraySession& session, const Change& change, Status done) {
  if (done || done.error().code != Errc::unavailable) return done;
  return fail(Errc::unavailable, fmt::format("{}: resilver add {} {}", done.error().what, place_words(session.place()),
                                             shell_word(change.path)));
}

Task<Status> come(ArraySession& session, Change& change, bool again) {
  if (Status opened = co_await session.open_to_write(change.place, change.dry_run); !opened) co_return opened;
  auto coming = co_await open_coming(session, change);
  if (!coming) co_return std::unexpected(coming.error());
  if (!again && change.stand_in.empty()) {
    if (Status free = check_free_to_use(*coming, session.disks(), change.force); !free) co_return free;
  }
  StartOptions start = change.start;
  start.check = [&session, &coming, &change, again](const raid::Array& array) -> Status {
    if (again && coming->super) {
      return with_add(session, change, array.may_readd({coming->name, nullptr}, *coming->super, change.force));
    }
    if (array.geometry().redundancy() == 0) {
      return fail(Errc::unsupported, fmt::format("{}: {} has no redundancy, nothing could be rebuilt on it",
                                                 coming->name, name(array.geometry().level())));
    }
    const std::uint64_t needed =
        array.data_offset_bytes() + (change.journal ? raid::Journal::kMinBytes : array.geometry().member_bytes());
    if (coming->image->size_bytes() >= needed) return {};
    return fail(Errc::invalid_argument, fmt::format("{}: too small for this array: {}", coming->name,
                                                    too_small_text(coming->image->size_bytes(), needed)));
  };
  if (Status started = co_await session.start(std::move(start)); !started) co_return started;
  if (!again && change.force && !change.dry_run && own_superblock(*coming, session.disks()) == nullptr) {
    if (Status erased = erase_signatures(coming->path); !erased) co_return erased;
  }
  const raid::MemberDisk disk{coming->name, &coming->device(), change.write_mostly};
  session.keep(std::move(*coming));
  const Status done = again            ? co_await session.array().readd_disk(disk, change.force)
                      : change.journal ? co_await session.array().add_journal(disk)
                                       : co_await session.array().add_disk(disk);
  if (!done) co_return again ? with_add(session, change, done) : done;
  change.made = false;  // it is the array's now
  if (Status stopped = co_await session.stop(); !stopped) co_return stopped;
  const char* const said = again ? "re-added" : change.journal ? "is the journal now" : "added";
  say(change.dry_run, fmt::format("{} {}", disk.name, said));
  print_state(session, change);
  co_return Status{};
}

// ---- the commands ----

int run_change(const CommandLine& line, Act act, const char* said) {
  int code = kDone;
  const auto change = read_change(line, code);
  if (!change) return code;
  return run_session(line.command, [&](ArraySession& session) { return change_member(session, *change, act, said); });
}

int run_come(const CommandLine& line, bool again) {
  int code = kDone;
  auto change = read_change(line, code);
  if (!change) return code;
  const auto bytes = line.size_of("size");
  if (!bytes) return refuse_usage(line.command, bytes.error().what);
  if (*bytes % kBlockBytes != 0)
    return refuse_usage(line.command, fmt::format("--size: not a multiple of {}", kBlockBytes));
  change->journal = line.has("journal");
  if (Status chosen = choose_disk(*change, *bytes); !chosen) return refuse(line.command, chosen.error());
  code = run_session(line.command, [&](ArraySession& session) { return come(session, *change, again); });
  if (code != kDone && change->made) unlink(change->path.c_str());
  return code;
}

int run_fail(const CommandLine& line) { return run_change(line, fail_one, "is faulty now"); }
int run_remove(const CommandLine& line) { return run_change(line, remove_one, "removed"); }
int run_replace(const CommandLine& line) { return run_change(line, replace_one, "is being replaced"); }
int run_add(const CommandLine& line) { return run_come(line, false); }
int run_readd(const CommandLine& line) { return run_come(line, true); }

constexpr cli::ExitCode kFailedExit = {1, "refused or failed"};

}  // namespace

constexpr CommandSpec kFailCommand = {
    .name = "fail",
    .meaning = "mark a member as faulty",
    .words = "DIR|IMAGE... MEMBER",
    .description =
        "Marks a member (an image, or a slot's number) as faulty, as if its disk had failed. A spare takes the "
        "slot with the next `resilver rebuild`.",
    .options = {kForce, kDryRun},
    .examples = {"resilver fail vm disk1", "resilver fail vm 1"},
    .exits = {{0, "done"}, kFailedExit, cli::kBadUsageExit},
    .run = run_fail,
};

constexpr CommandSpec kRemoveCommand = {
    .name = "remove",
    .meaning = "forget a faulty disk or a spare",
    .words = "DIR|IMAGE... MEMBER",
    .description = "Makes the array forget a disk that is faulty or a spare. The image itself stays.",
    .options = {kForce, kDryRun},
    .examples = {"resilver remove vm disk1"},
    .exits = {{0, "done"}, kFailedExit, cli::kBadUsageExit},
    .run = run_remove,
};

constexpr CommandSpec kReplaceCommand = {
    .name = "replace",
    .meaning = "let a spare take over from a member that still works",
    .words = "DIR|IMAGE... MEMBER",
    .description =
        "A spare is to take over from this member, which still works: `resilver rebuild` copies it, without "
        "ever giving up redundancy; then the old member is faulty.",
    .options = {kForce, kDryRun},
    .examples = {"resilver add vm disk9 --size 1G", "resilver replace vm disk1 && resilver rebuild vm"},
    .exits = {{0, "done"}, kFailedExit, cli::kBadUsageExit},
    .run = run_replace,
};

constexpr CommandSpec kAddCommand = {
    .name = "add",
    .meaning = "give an array a disk",
    .words = "DIR|IMAGE... DISK",
    .description =
        "A disk becomes a spare; if a slot lacks a disk, `resilver rebuild` fills it with this one. What the "
        "disk held is lost.",
    .options =
        {
            {"write-mostly", nullptr, "a RAID 1 is to read this disk only where no other member can be read"},
            {"size", "SIZE", "make the image first"},
            {"journal", nullptr, "as the journal of an array that has none, or has lost it (levels 4, 5 and 6)"},
            {"force", nullptr,
             "also a disk that holds a file system, a partition table or another array; as for assemble"},
            kDryRun,
        },
    .examples = {"resilver add vm disk9 --size 1G", "resilver add vm /dev/sdd",
                 "resilver fail vm disk1 && resilver add vm disk1 && resilver rebuild vm",
                 "resilver assemble vm --force && resilver add vm journal --size 64M --journal"},
    .exits = {{0, "done"}, kFailedExit, cli::kBadUsageExit},
    .run = run_add,
};

constexpr CommandSpec kReaddCommand = {
    .name = "re-add",
    .meaning = "take a former member back",
    .words = "DIR|IMAGE... DISK",
    .description =
        "Takes a former member back: with a write-intent bitmap only what was written since it left is copied.",
    .options = {kForce, kDryRun},
    .examples = {"resilver re-add vm disk1 && resilver rebuild vm"},
    .exits = {{0, "done"}, kFailedExit, cli::kBadUsageExit},
    .run = run_readd,
};

}  // namespace resilver::tools
