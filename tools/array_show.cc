// `resilver examine` and `status`: what superblocks say, in the words and forms of mdadm and /proc/mdstat. Nothing here
// writes.
#include "tools/array_show.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <ctime>

#include "base/endian.h"
#include "base/units.h"
#include "raid/bitmap_format.h"
#include "tools/command.h"
#include "tools/commands.h"

namespace resilver::tools {

using raid::MemberState;
using raid::Superblock;

namespace {

constexpr std::size_t kChecksumAt = 216;
constexpr std::size_t kOldChecksumAt = 152;

// ---- examine ----

// " (8.00 MiB 8.39 MB)" as mdadm has it: nothing for what is small.
std::string both_units(std::uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes < 5000ull << 10) return "";
  if (bytes < 2ull << 30) return fmt::format(" ({:.2f} MiB {:.2f} MB)", value / (1 << 20), value / 1e6);
  if (bytes < 2ull << 40) return fmt::format(" ({:.2f} GiB {:.2f} GB)", value / (1 << 30), value / 1e9);
  return fmt::format(" ({:.2f} TiB {:.2f} TB)", value / static_cast<double>(1ull << 40), value / 1e12);
}

}  // namespace

std::string time_text(std::uint64_t md_time) {
  const auto seconds = static_cast<std::time_t>(md_time & ((1ull << 40) - 1));
  char text[64] = {};
  std::tm parts{};
  localtime_r(&seconds, &parts);
  std::strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &parts);
  return text;
}

std::string role_text(const Superblock& super) {
  const std::uint16_t role = super.role();
  if (role == raid::kRoleJournal) return "Journal";
  if (role >= raid::kRoleFaulty) return "spare";
  const bool replaces = (super.feature_map & 16) != 0;
  return fmt::format("{} device {}", replaces ? "Replacement" : "Active", role);
}

std::string array_letters(const Superblock& super) {
  std::string letters;
  for (std::uint32_t slot = 0; slot < super.raid_disks; ++slot) {
    const auto holders = std::ranges::count(super.roles, slot);
    letters += holders == 0 ? '.' : holders == 1 ? 'A' : 'R';
  }
  return letters;
}

std::uint64_t array_bytes(const Superblock& super) {
  // As mdadm counts: a RAID 10 may have some less.
  if (super.level == raid::Level::raid10) {
    return super.size_sectors * super.raid_disks / raid::near_copies(super.layout) * 512;
  }
  const auto geometry = raid::geometry_of(super);
  return geometry ? geometry->capacity_bytes() : 0;
}

std::string checksum_of(const Disk& disk) {
  const bool old = disk.super && disk.super->place.version == raid::MetadataVersion::v0_90;
  return fmt::format("{:x}", load_le<std::uint32_t>(disk.block.data() + (old ? kOldChecksumAt : kChecksumAt)));
}

std::string state_of(const Superblock& super) {
  return super.resync_offset_sectors == raid::kResyncDone ? "clean" : "active";
}

namespace {

// What md's administrator has set on this member alone.
std::string flags_of(const Superblock& super) {
  const bool write_mostly = (super.devflags & raid::kWriteMostly) != 0;
  const bool fail_fast = (super.devflags & raid::kFailFast) != 0;
  return fmt::format("{}{}{}", write_mostly ? "write-mostly" : "", write_mostly && fail_fast ? " " : "",
                     fail_fast ? "failfast" : "");
}

std::string bitmap_lines(const Superblock& super) {
  if ((super.feature_map & raid::kFeatureBitmap) == 0) return {};
  return fmt::format("Internal Bitmap : {} sectors from superblock\n", super.bitmap_offset);
}

std::string layout_lines(const Superblock& super) {
  std::string text;
  const bool chosen = super.level != raid::Level::raid0 || (super.feature_map & raid::kFeatureRaid0Layout) != 0;
  const bool named = super.layout != raid::Layout::none && chosen;
  if (super.level == raid::Level::raid10) {
    text += fmt::format("         Layout : near={}\n", raid::near_copies(super.layout));
  } else if (named) {
    text += fmt::format("         Layout : {}\n", name(super.layout));
  }
  const bool linear = super.level == raid::Level::linear;
  if (linear || super.chunk_sectors != 0) {
    text += fmt::format("{:>15} : {}K\n", linear ? "Rounding" : "Chunk Size", super.chunk_sectors / 2);
  }
  return text;
}

}  // namespace

namespace {

// As mdadm counts. Before the data at least 72 sectors from the superblock on are taken, else all up to the end of the
// bad-block log.
std::pair<std::uint64_t, std::uint64_t> unused_space(const Superblock& super, std::uint64_t device_sectors,
                                                     std::uint64_t used) {
  const std::uint64_t data = super.data_offset_sectors;
  const auto left = [](std::uint64_t from, std::uint64_t to) { return to > from ? to - from : 0; };
  const std::uint64_t log = super.has_bad_block_log() ? super.sector_of(super.bblog_offset) : 0;
  if (super.place.sector > data) {
    std::uint64_t end = super.place.sector;
    if (log != 0) end = std::min(end, log);
    if ((super.feature_map & raid::kFeatureBitmap) != 0) end = std::min(end, super.sector_of(super.bitmap_offset));
    return {data, left(data + used, end)};
  }
  const std::uint64_t log_end = log == 0 ? 0 : log + super.bblog_size_sectors;
  return {left(std::max(super.place.sector + 72, log_end), data), left(data + used, device_sectors)};
}

}  // namespace

std::string examine_text(const Disk& disk) {
  const Superblock& super = *disk.super;
  const std::uint64_t device_sectors = disk.image->size_bytes() / kSectorBytes;
  const std::uint64_t used = is_redundant(super.level) ? super.size_sectors : super.data_size_sectors;
  std::string text = fmt::format("{}:\n", disk.path);
  const auto line = [&text](const char* field, const std::string& value) {
    text += fmt::format("{:>15} : {}\n", field, value);
  };
  line("Magic", "a92b4efc");
  line("Version", name(super.place.version));
  line("Feature Map", fmt::format("{:#x}", super.feature_map));
  line("Array UUID", raid::format_uuid(super.set_uuid));
  if (super.place.version != raid::MetadataVersion::v0_90) line("Name", super.set_name);
  line("Creation Time", time_text(super.ctime));
  line("Raid Level", name(super.level));
  line("Raid Devices", std::to_string(super.raid_disks));
  text += "\n";
  line("Avail Dev Size",
       fmt::format("{} sectors{}", super.data_size_sectors, both_units(super.data_size_sectors * 512)));
  if (is_redundant(super.level)) {
    line("Array Size", fmt::format("{} KiB{}", array_bytes(super) / 1024, both_units(array_bytes(super))));
  }
  // Of linear, whose number mdadm takes for a large one, it tells the field that is mostly 0.
  const std::uint64_t told = super.level == raid::Level::linear ? super.size_sectors : used;
  if (told != super.data_size_sectors) line("Used Dev Size", fmt::format("{} sectors{}", told, both_units(told * 512)));
  if (super.data_offset_sectors != 0) line("Data Offset", fmt::format("{} sectors", super.data_offset_sectors));
  line("Super Offset", fmt::format("{} sectors", super.place.sector));
  if ((super.feature_map & raid::kFeatureRecoveryOffset) != 0) {
    line("Recovery Offset", fmt::format("{} sectors", super.recovery_offset_sectors));
  }
  const auto [before, after] = unused_space(super, device_sectors, used);
  if (before != 0 || after != 0) {
    line("Unused Space", fmt::format("before={} sectors, after={} sectors", before, after));
  }
  line("State", state_of(super));
  line("Device UUID", raid::format_uuid(super.device_uuid));
  text += "\n" + bitmap_lines(super);
  if (const std::string flags = flags_of(super); !flags.empty()) line("Flags", flags);
  line("Update Time", time_text(super.utime));
  if (super.bblog_size_sectors != 0) {
    const bool bad = (super.feature_map & raid::kFeatureBadBlocks) != 0;
    line("Bad Block Log", fmt::format("{} entries available at offset {} sectors{}", super.bblog_size_sectors * 64,
                                      super.bblog_offset, bad ? " - bad blocks present." : ""));
  }
  line("Checksum", checksum_of(disk) + " - correct");
  line("Events", std::to_string(super.events));
  text += "\n" + layout_lines(super) + "\n";
  text += fmt::format("   Device Role : {}\n", role_text(super));
  text +=
      fmt::format("   Array State : {}\n", array_letters(super) + " ('A' == active, '.' == missing, 'R' == replacing)");
  return text;
}

// ---- examine --scan ----

namespace {

// "host:name" is found as /dev/md/name.
std::string device_name(const std::string& set_name) { return set_name.substr(set_name.find(':') + 1); }

std::string array_line(const std::vector<const Disk*>& disks, bool verbose) {
  const Superblock& super = *disks.front()->super;
  std::string text = fmt::format("ARRAY /dev/md/{} ", shell_word(device_name(super.set_name)));
  if (verbose) text += fmt::format(" level={}", name(super.level));
  text += " metadata=1.2";
  if (verbose) text += fmt::format(" num-devices={}", super.raid_disks);
  text += fmt::format(" UUID={}", raid::format_uuid(super.set_uuid));
  if (!super.set_name.empty()) text += fmt::format(" name={}", shell_word(super.set_name));
  text += "\n";
  std::string more;
  const auto spares =
      std::ranges::count_if(disks, [](const Disk* disk) { return disk->super->role() >= disk->super->raid_disks; });
  if (spares > 0) more += fmt::format("   spares={}", spares);
  if (verbose) {
    std::string paths;
    for (const Disk* disk : disks) paths += (paths.empty() ? "" : ",") + disk->path;
    more += fmt::format("   devices={}", shell_word(paths));
  }
  return more.empty() ? text : text + more + "\n";
}

}  // namespace

std::string scan_text(const std::vector<Disk>& disks, bool verbose) {
  std::vector<std::vector<const Disk*>> arrays;
  for (const Disk& disk : disks) {
    if (!disk.super) continue;
    const auto same = std::ranges::find_if(
        arrays, [&disk](const auto& array) { return array.front()->super->set_uuid == disk.super->set_uuid; });
    if (same == arrays.end()) {
      arrays.push_back({&disk});
    } else {
      same->push_back(&disk);
    }
  }
  std::string text;
  for (const auto& array : arrays) text += array_line(array, verbose);
  return text;
}

// ---- status ----

namespace {

const Superblock* super_of(const ArraySession& session, const std::string& name) {
  const Disk* disk = session.find_disk(name);
  return disk != nullptr && disk->super ? &*disk->super : nullptr;
}

const char* flag_of(MemberState state) {
  switch (state) {
    case MemberState::faulty: return "(F)";
    case MemberState::spare: return "(S)";
    case MemberState::journal: return "(J)";
    case MemberState::replacement: return "(R)";
    default: return "";
  }
}

// /proc/mdstat does not name 0.90.
std::string version_words(const Superblock& super) {
  return super.place.version == raid::MetadataVersion::v0_90 ? "" : fmt::format("super {} ", name(super.place.version));
}

std::string level_words(const Superblock& super) {
  const std::uint32_t chunk = super.chunk_sectors / 2;
  switch (super.level) {
    case raid::Level::linear: return fmt::format("{}k rounding", chunk);
    case raid::Level::raid0: return fmt::format("{}k chunks", chunk);
    case raid::Level::raid1: return "";
    case raid::Level::raid10: return fmt::format("{}K chunks {} near-copies ", chunk, raid::near_copies(super.layout));
    default:
      return fmt::format("level {}, {}k chunk, algorithm {} ", static_cast<int>(super.level), chunk,
                         raid::layout_number(super.level, super.layout));
  }
}

}  // namespace

std::string bitmap_text(const BitmapSummary& bitmap) {
  const std::uint64_t pages = (bitmap.bits + 4096 * 8 - 1) / (4096 * 8);
  return fmt::format("      bitmap: {}/{} pages [{}KB], {}KB chunk\n", bitmap.set_pages, pages, bitmap.set_pages * 4,
                     bitmap.chunk_bytes / 1024);
}

std::string mdstat_text(const ArraySession& session, const raid::Array& array,
                        const std::optional<BitmapSummary>& bitmap) {
  const raid::ArrayStatus status = array.status();
  const Superblock* fresh = freshest_superblock(session);
  const bool failed = status.state == raid::ArrayState::failed;
  std::string text =
      fmt::format("{} : {} {}", session.place().label, failed ? "inactive" : "active", name(status.level));
  for (const raid::MemberStatus& member : status.members) {
    if (member.name.empty() || member.state == MemberState::missing) continue;
    const Superblock* super = super_of(session, member.name);
    const bool write_mostly = super != nullptr && (super->devflags & raid::kWriteMostly) != 0;
    text += fmt::format(" {}[{}]{}{}", member.name, super != nullptr ? super->dev_number : 0, write_mostly ? "(W)" : "",
                        flag_of(member.state));
  }
  text += fmt::format("\n      {} blocks {}{}", array.exact_bytes() / 1024, version_words(*fresh), level_words(*fresh));
  if (is_redundant(status.level)) {
    const std::uint32_t slots = array.geometry().disks();
    const std::string letters = slot_letters(status, slots);
    text += fmt::format("[{}/{}] [{}]", slots, std::ranges::count(letters, 'U'), letters);
  }
  text += "\n";
  for (const raid::MemberStatus& member : status.members) {
    if (member.state != MemberState::rebuilding && member.state != MemberState::replacement) continue;
    const std::uint64_t total = array.geometry().member_bytes();
    text += fmt::format("      recovery=PENDING, {} is at {:.1f}% ({}/{})\n", member.name,
                        100.0 * static_cast<double>(member.rebuilt_bytes) / static_cast<double>(total),
                        member.rebuilt_bytes / 1024, total / 1024);
  }
  if (is_dirty(session)) text += "      resync=PENDING\n";
  if (status.journal_missing) text += "      journal=MISSING\n";
  if (bitmap) text += bitmap_text(*bitmap);
  return text;
}

const Superblock* freshest_superblock(const ArraySession& session) {
  const Superblock* best = nullptr;
  for (const raid::DiskFound& found : session.report()) {
    const Superblock* super = super_of(session, found.name);
    if (super == nullptr || found.verdict == raid::DiskVerdict::other_array) continue;
    if (best == nullptr || super->events > best->events) best = super;
  }
  return best;
}

bool is_dirty(const ArraySession& session) {
  const Superblock* fresh = freshest_superblock(session);
  return fresh != nullptr && is_redundant(fresh->level) && fresh->resync_offset_sectors != raid::kResyncDone;
}

Task<std::optional<BitmapSummary>> read_bitmap(ArraySession& session) {
  for (const Disk& disk : session.disks()) {
    if (!disk.super || (disk.super->feature_map & raid::kFeatureBitmap) == 0) continue;
    if (disk.super->role() < raid::kRoleJournal) co_return co_await read_bitmap(session.env(), disk);
  }
  co_return std::nullopt;
}

Task<std::optional<BitmapSummary>> read_bitmap(uring::RealEnv& env, const Disk& disk) {
  if (!disk.super || (disk.super->feature_map & raid::kFeatureBitmap) == 0) co_return std::nullopt;
  Buffer block = env.buffers().allocate(kBlockBytes);
  const std::uint64_t at = disk.super->sector_of(disk.super->bitmap_offset) * kSectorBytes;
  if (!block || co_await Io::read(*disk.image, at, block) != Errc::ok) co_return std::nullopt;
  const auto header = raid::decode_bitmap_header(
      std::span<const std::byte, raid::kBitmapHeaderBytes>(block.data(), raid::kBitmapHeaderBytes));
  if (!header) co_return std::nullopt;
  BitmapSummary summary;
  summary.chunk_bytes = header->chunk_bytes;
  summary.bits = raid::bitmap_bits(header->sync_size_sectors, header->chunk_bytes);
  if (at + raid::bitmap_bytes(summary.bits) > disk.image->size_bytes()) co_return std::nullopt;
  std::uint64_t bit = 0;
  for (std::uint64_t page = 0; bit < summary.bits; ++page) {
    if (page > 0 && co_await Io::read(*disk.image, at + page * kBlockBytes, block) != Errc::ok) co_return std::nullopt;
    const std::uint64_t end = std::min(summary.bits, ((page + 1) * kBlockBytes - raid::kBitmapHeaderBytes) * 8);
    const std::uint64_t before = summary.set_bits;
    for (std::size_t i = page == 0 ? raid::kBitmapHeaderBytes : 0; bit < end; ++i, bit += 8) {
      const unsigned wanted = end - bit < 8 ? (1u << (end - bit)) - 1 : 0xff;
      summary.set_bits += static_cast<unsigned>(std::popcount(std::to_integer<unsigned>(block.data()[i]) & wanted));
    }
    if (summary.set_bits != before) ++summary.set_pages;
  }
  co_return summary;
}

// ---- the commands ----

namespace {

enum class ExamineForm : std::uint8_t { text, json, scan, scan_verbose };

void print_examined(const std::vector<Disk>& disks, ExamineForm form) {
  if (form == ExamineForm::json) {
    fmt::print("{}\n", examine_json(disks));
  } else if (form != ExamineForm::text) {
    fmt::print("{}", scan_text(disks, form == ExamineForm::scan_verbose));
  } else {
    for (const Disk& disk : disks) {
      if (disk.super) fmt::print("{}", examine_text(disk));
    }
  }
}

Task<Status> examine(ArraySession& session, const Place& place, ExamineForm form) {
  if (Status opened = co_await session.open(place, uring::Access::read_only); !opened) co_return opened;
  Status outcome;
  // In a folder lies what nobody named: that is no failure.
  const bool some = std::ranges::any_of(session.disks(), [](const Disk& disk) { return disk.super.has_value(); });
  for (const Disk& disk : session.disks()) {
    if (disk.super) continue;
    const std::string why = fmt::format("{}: {}{}", disk.name, disk.super.error().what, disk.holds);
    if (some && !place.folder.empty()) {
      fmt::print(stderr, "resilver examine: {}: left out\n", why);
    } else if (outcome) {
      outcome = fail(disk.super.error().code, why);
    }
  }
  print_examined(session.disks(), form);
  co_return outcome;
}

constexpr int kDegraded = 1;
constexpr int kArrayFailed = 2;
constexpr int kCannotTell = 4;

void tell_in_use(const Place& place) {
  const std::set<pid_t> holders = holders_of(place.paths);
  fmt::print(stderr, "resilver status: {}: in use{}: as its superblocks lie there now\n", place.label,
             holders.empty() ? "" : fmt::format(" by process {}", fmt::join(holders, ", ")));
}

Task<Status> show_status(ArraySession& session, const Place& place, bool json, int& tested) {
  tested = kCannotTell;
  StartOptions options;
  options.read_only = options.leave_out = true;  // looks, whatever there is
  if (is_maintained(place.paths)) tell_in_use(place);
  Status started = co_await session.open_to_read(place, options);
  if (!started && started.error().code == Errc::busy) {
    tell_in_use(place);
    if (Status opened = co_await session.open(place, uring::Access::look); !opened) co_return opened;
    started = co_await session.start(options);
  }
  if (!started) {
    if (started.error().code != Errc::unavailable || freshest_superblock(session) == nullptr) co_return started;
    tested = kArrayFailed;
    if (json) {
      fmt::print("{}\n", failed_json(session, started.error().what));
      co_return Status{};
    }
    fmt::print("{} : inactive", session.place().label);
    for (const Disk& disk : session.disks()) {
      if (disk.super) fmt::print(" {}[{}]", disk.name, disk.super->dev_number);
    }
    fmt::print("\n      {}\n", started.error().what);
    co_return Status{};
  }
  const auto bitmap = co_await read_bitmap(session);
  fmt::print("{}", json ? status_json(session, session.array(), bitmap) + "\n"
                        : mdstat_text(session, session.array(), bitmap));
  const raid::ArrayStatus status = session.array().status();
  const std::string letters = slot_letters(status, session.array().geometry().disks());
  const bool lacks = letters.contains('_') || status.journal_missing;
  tested = status.state == raid::ArrayState::failed ? kArrayFailed : lacks ? kDegraded : kDone;
  co_return Status{};
}

int run_examine(const CommandLine& line) {
  if (line.words.empty()) return refuse_usage("examine", "expected an image");
  const auto place = find_place(line.words);
  if (!place) return refuse("examine", place.error());
  if (line.has("json") && line.has("scan")) return refuse_usage("examine", "--json and --scan exclude each other");
  if (line.has("verbose") && !line.has("scan")) return refuse_usage("examine", "--verbose goes with --scan");
  const ExamineForm form = line.has("json")      ? ExamineForm::json
                           : line.has("verbose") ? ExamineForm::scan_verbose
                           : line.has("scan")    ? ExamineForm::scan
                                                 : ExamineForm::text;
  return run_session("examine", [&](ArraySession& session) { return examine(session, *place, form); });
}

int run_status(const CommandLine& line) {
  if (line.words.empty()) return refuse_usage("status", "expected a folder or images");
  const bool test = line.has("test");
  const auto place = find_place(line.words);
  if (!place) return refuse("status", place.error(), test ? kCannotTell : kFailed);
  int tested = kCannotTell;
  const int code = run_session(
      "status", [&](ArraySession& session) { return show_status(session, *place, line.has("json"), tested); });
  return test ? tested : code;
}

constexpr OptionSpec kJson = {"json", nullptr, "as JSON"};

}  // namespace

constexpr CommandSpec kExamineCommand = {
    .name = "examine",
    .meaning = "the superblock of an image, as mdadm --examine",
    .words = "DIR|IMAGE...",
    .usage = "IMAGE... [OPTIONS]",
    .description = "Prints the superblock of a member, field by field as mdadm --examine names them.",
    .options = {kJson,
                {"scan,s", nullptr, "one line for each array, as mdadm.conf has them"},
                {"verbose,v", nullptr, "with --scan: level, number of members and their images"}},
    .examples = {"resilver examine vm/disk0.img", "resilver examine vm --json"},
    .exits = {{0, "done"},
              {1, "an image that was named, or all of a folder, has no superblock that can be read"},
              cli::kBadUsageExit},
    .run = run_examine,
};

constexpr CommandSpec kStatusCommand = {
    .name = "status",
    .meaning = "an array's state, in the form of /proc/mdstat",
    .words = "DIR|IMAGE...",
    .description =
        "Prints an array's state in the form of /proc/mdstat. Nothing is written, and it never refuses a damaged "
        "array: what cannot be used is named on standard error.",
    .options = {kJson, {"test", nullptr, "exit codes as of mdadm --detail --test"}},
    .examples = {"resilver status vm", "resilver status vm --json",
                 "resilver status vm --test || echo something is wrong"},
    .exits = {{0, "done; with --test: whole"},
              {1, "cannot tell; with --test: degraded"},
              {2, "bad usage; with --test: also failed"},
              {4, "with --test: cannot tell"}},
    .run = run_status,
};

}  // namespace resilver::tools
