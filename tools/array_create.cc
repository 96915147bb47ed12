// `resilver create`: a new array on fresh images in a folder, or on files and block devices that are there.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "base/units.h"
#include "raid/bitmap_format.h"
#include "tools/array_session.h"
#include "tools/array_signature.h"
#include "tools/command.h"
#include "tools/commands.h"

namespace resilver::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMissing = "missing";

struct Plan {
  raid::ArrayConfig config;
  std::string folder;                // empty: --devices
  std::vector<std::string> paths;    // members (or kMissing), then spares
  std::vector<std::uint64_t> sizes;  // of fresh images, as paths
  std::uint32_t disks = 0;
  std::string journal;  // path, or empty
  std::uint64_t journal_bytes = 0;
  bool assume_clean = false;
  bool force = false;
  bool dry_run = false;
};

Result<std::vector<std::uint64_t>> parse_sizes(const std::string& text, std::size_t count) {
  std::vector<std::uint64_t> sizes;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    const auto size = parse_size(text.substr(begin, comma - begin));
    if (!size) return fail(Errc::bad_input, "--size: " + size.error().what);
    if (*size == 0 || *size % kBlockBytes != 0) {
      return fail(Errc::bad_input, fmt::format("--size: {} bytes is not a multiple of {}", *size, kBlockBytes));
    }
    sizes.push_back(*size);
    begin = comma + 1;
  }
  if (sizes.size() == 1) sizes.resize(count, sizes[0]);
  if (sizes.size() != count) {
    return fail(Errc::bad_input, fmt::format("--size: {} sizes for {} images", sizes.size(), count));
  }
  return sizes;
}

// As mdadm takes sizes of metadata: a plain number is KiB, "s" are sectors.
Result<std::uint64_t> mdadm_size(const CommandLine& line, const char* option) {
  std::string text = line.text(option);
  std::uint64_t unit = 1;
  if (text.ends_with('s') || text.ends_with('S')) {
    text.pop_back();
    unit = kSectorBytes;
  } else if (text.find_first_not_of("0123456789") == std::string::npos) {
    unit = kKiB;
  }
  const auto size = unit == 1 ? parse_size(text) : parse_count(text);
  if (size && *size <= raid::kMaxCapacity / unit) return *size * unit;
  return fail(Errc::bad_input, fmt::format("--{}: {}", option, size ? "too large" : size.error().what));
}

// What metadata is to hold, and where.
Status read_metadata_options(const CommandLine& line, raid::ArrayConfig& config) {
  if (line.has("uuid")) {
    const auto uuid = raid::parse_uuid(line.text("uuid"));
    if (!uuid) return fail(uuid.error().code, "--uuid: " + uuid.error().what);
    config.uuid = *uuid;
  }
  if (line.has("data-offset")) {
    const auto offset = mdadm_size(line, "data-offset");
    if (!offset) return std::unexpected(offset.error());
    config.data_offset_bytes = *offset;
  }
  if (!line.has("bitmap-chunk")) return {};
  if (config.consistency != raid::Consistency::bitmap) {
    return fail(Errc::bad_input, "--bitmap-chunk goes with --consistency bitmap");
  }
  const auto chunk = mdadm_size(line, "bitmap-chunk");
  if (!chunk) return std::unexpected(chunk.error());
  if (!std::has_single_bit(*chunk) || *chunk < raid::kBitmapMinChunk || *chunk > raid::kBitmapMaxChunk) {
    return fail(Errc::bad_input, fmt::format("--bitmap-chunk: {} bytes: must be a power of two from {} to {}", *chunk,
                                             raid::kBitmapMinChunk, raid::kBitmapMaxChunk));
  }
  config.bitmap_chunk_bytes = static_cast<std::uint32_t>(*chunk);
  return {};
}

// Options that this level has no use for.
Status check_level_options(const CommandLine& line, raid::Level level) {
  if (!is_redundant(level) && line.has("consistency")) {
    return fail(Errc::bad_input, fmt::format("--consistency: {} has no redundancy to keep", name(level)));
  }
  if (!is_redundant(level) && line.text("spares") != "" && line.text("spares") != "0") {
    return fail(Errc::bad_input,
                fmt::format("--spares: {} has no redundancy, nothing could be rebuilt on a spare", name(level)));
  }
  if (level == raid::Level::raid1 && line.has("chunk")) {
    return fail(Errc::bad_input, "--chunk: RAID 1 has no chunks: every member holds everything");
  }
  return {};
}

std::optional<raid::Level> parse_level(const std::string& text) {
  if (text == name(raid::Level::linear)) return raid::Level::linear;
  const auto number = parse_count(text);
  return number && *number <= 10 ? raid::level_from_number(static_cast<int>(*number)) : std::nullopt;
}

Status read_shape(const CommandLine& line, raid::ArrayConfig& config) {
  const auto level = parse_level(line.text("level"));
  if (!level) {
    return fail(Errc::bad_input,
                fmt::format("--level: expected linear, 0, 1, 4, 5, 6 or 10, not '{}'", line.text("level")));
  }
  config.level = *level;
  if (Status fine = check_level_options(line, *level); !fine) return fine;
  const bool no_rounding = *level == raid::Level::linear && !line.has("chunk");
  const auto chunk = no_rounding ? Result<std::uint64_t>(0) : line.size_of("chunk");
  if (!chunk) return std::unexpected(chunk.error());
  config.chunk_bytes = *chunk;
  if (line.has("layout")) {
    config.layout = raid::layout_from_name(line.text("layout"));
    if (!config.layout) return fail(Errc::bad_input, fmt::format("--layout: unknown layout '{}'", line.text("layout")));
  }
  if (!is_redundant(*level)) config.consistency = raid::Consistency::none;
  if (line.has("consistency")) {
    const auto policy = raid::consistency_from_name(line.text("consistency"));
    if (!policy || *policy == raid::Consistency::none) {
      return fail(Errc::bad_input,
                  fmt::format("--consistency: expected resync, bitmap or journal, not '{}'", line.text("consistency")));
    }
    config.consistency = *policy;
  }
  return read_metadata_options(line, config);
}

Status read_images(const CommandLine& line, Plan& plan, std::uint32_t spares) {
  if (line.words.size() != 1) return fail(Errc::bad_input, "expected one folder, or --devices");
  if (line.has("journal")) return fail(Errc::bad_input, "--journal goes with --devices; a folder gets its own");
  if (!line.has("disks") || plan.disks == 0) return fail(Errc::bad_input, "--disks N is needed");
  if (!line.has("size")) return fail(Errc::bad_input, "--size SIZE is needed");
  plan.folder = line.words[0];
  for (std::uint32_t i = 0; i < plan.disks; ++i)
    plan.paths.push_back(fs::path(plan.folder) / fmt::format("disk{}.img", i));
  for (std::uint32_t i = 0; i < spares; ++i)
    plan.paths.push_back(fs::path(plan.folder) / fmt::format("spare{}.img", i));
  auto sizes = parse_sizes(line.text("size"), plan.paths.size());
  if (!sizes) return std::unexpected(sizes.error());
  plan.sizes = std::move(*sizes);
  if (plan.config.consistency == raid::Consistency::journal) plan.journal = fs::path(plan.folder) / "journal.img";
  plan.assume_clean = true;
  return {};
}

Status read_devices(const CommandLine& line, Plan& plan, std::uint32_t spares) {
  if (!line.words.empty()) return fail(Errc::bad_input, "a folder and --devices exclude each other");
  for (const char* option : {"size", "journal-size"}) {
    if (line.has(option))
      return fail(Errc::bad_input, fmt::format("--{} is for fresh images, not for --devices", option));
  }
  plan.paths = line.all("devices");
  if (plan.disks == 0 && plan.paths.size() > spares)
    plan.disks = static_cast<std::uint32_t>(plan.paths.size()) - spares;
  if (plan.disks + spares != plan.paths.size()) {
    return fail(Errc::bad_input,
                fmt::format("--devices: {} for {} members and {} spares", plan.paths.size(), plan.disks, spares));
  }
  if (std::find(plan.paths.begin() + plan.disks, plan.paths.end(), kMissing) != plan.paths.end()) {
    return fail(Errc::bad_input, "--devices: a spare that is missing; `missing` stands for a member");
  }
  plan.journal = line.text("journal");
  const bool wants_journal = plan.config.consistency == raid::Consistency::journal;
  if (wants_journal && plan.journal.empty()) return fail(Errc::bad_input, "--consistency journal needs --journal FILE");
  if (!wants_journal && !plan.journal.empty())
    return fail(Errc::bad_input, "--journal goes with --consistency journal");
  plan.assume_clean = line.has("assume-clean");
  return {};
}

// What no array can be is known before anything is made.
Status check_shape(const raid::ArrayConfig& config, std::uint32_t disks) {
  const raid::Layout layout = config.layout.value_or(raid::default_layout(config.level));
  const bool chunks = config.level != raid::Level::raid1 && config.chunk_bytes != 0;
  const std::uint64_t one_chunk = chunks ? config.chunk_bytes : raid::kMirrorUnit;
  const auto geometry = raid::Geometry::make(config.level, layout, disks, config.chunk_bytes, one_chunk);
  if (!geometry) return std::unexpected(geometry.error());
  return {};
}

Result<Plan> read_plan(const CommandLine& line) {
  Plan plan;
  if (!line.has("level")) return fail(Errc::bad_input, "--level is needed");
  if (Status shape = read_shape(line, plan.config); !shape) return std::unexpected(shape.error());
  const auto disks = line.count_of("disks", 0, raid::kMaxDisks);
  const auto spares = line.count_of("spares", 0, raid::kMaxDisks);
  const auto journal_bytes = line.size_of("journal-size");
  if (!disks) return std::unexpected(disks.error());
  if (!spares) return std::unexpected(spares.error());
  if (!journal_bytes) return std::unexpected(journal_bytes.error());
  plan.disks = *disks;
  plan.journal_bytes = *journal_bytes;
  plan.force = line.has("force");
  plan.dry_run = line.has("dry-run");
  if (Status shape = check_shape(plan.config, plan.disks); line.has("disks") && !shape)
    return std::unexpected(shape.error());
  const Status read = line.has("devices") ? read_devices(line, plan, *spares) : read_images(line, plan, *spares);
  if (!read) return std::unexpected(read.error());
  std::error_code error;
  const std::string otherwise =
      plan.folder.empty() ? "resilver" : fs::weakly_canonical(plan.folder, error).filename().string().substr(0, 32);
  plan.config.name = line.has("name") ? line.text("name") : otherwise;
  return plan;
}

// Nothing is made yet: whatever can be refused is refused here.
Status check_folder(const Plan& plan) {
  struct stat status;
  if (stat(plan.folder.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return fail(Errc::io, fmt::format("{}: {}", plan.folder, std::strerror(errno)));
  }
  if (!S_ISDIR(status.st_mode)) return fail(Errc::bad_input, fmt::format("{}: not a folder", plan.folder));
  const auto found = find_place({plan.folder});
  if (!found) return {};  // no image in it
  for (const std::string& path : found->paths) {
    if (is_unfinished(path)) continue;  // left by a create or add that was killed: taken anew, or no image at all
    const bool ours = std::ranges::find(plan.paths, path) != plan.paths.end() || path == plan.journal;
    if (!ours)
      return fail(Errc::exists, fmt::format("{}: an image is in the folder already; choose another folder", path));
    if (plan.force) continue;
    const auto holds = what_it_holds(path);
    const std::string what = holds && *holds ? ", holds " + **holds : "";
    return fail(Errc::exists, fmt::format("{}: there already{} (--force makes it anew)", path, what));
  }
  return {};
}

// All that there is to open: members, spares, journal.
std::vector<std::string> present_paths(const Plan& plan) {
  std::vector<std::string> all = plan.paths;
  std::erase(all, kMissing);
  if (!plan.journal.empty()) all.push_back(plan.journal);
  return all;
}

Status check_devices(const Plan& plan) {
  const std::vector<std::string> all = present_paths(plan);
  const auto place = find_place(all);  // they exist, none twice
  if (!place) return std::unexpected(place.error());
  for (const std::string& path : all) {
    const auto holds = what_it_holds(path);
    if (!holds) return std::unexpected(holds.error());
    if (*holds && !plan.force)
      return fail(Errc::exists, fmt::format("{}: holds {} (--force overwrites it)", path, **holds));
  }
  return {};
}

// Members of unequal size waste what the smallest does not have, also one that is to become a member later; linear and RAID 0
// use it. `sizes` are those of `paths`, members and spares.
Status check_sizes(const Plan& plan, const std::vector<std::string>& paths, const std::vector<std::uint64_t>& sizes) {
  if (!is_redundant(plan.config.level) || plan.force || sizes.empty()) return {};
  const auto [least, most] = std::ranges::minmax_element(sizes);
  if (*most - *least <= *least / 100) return {};
  const auto path_of = [&](auto at) { return paths[static_cast<std::size_t>(at - sizes.begin())]; };
  const auto spares = static_cast<std::ptrdiff_t>(plan.paths.size() - plan.disks);
  if (least >= sizes.end() - spares) {
    return fail(Errc::bad_input,
                fmt::format("{}: a spare of {} is more than 1 % smaller than the largest disk, {}: it could not take "
                            "over from a member (--force makes all as small)",
                            path_of(least), format_size(*least), format_size(*most)));
  }
  return fail(
      Errc::bad_input,
      fmt::format("{}: its size, {}, is more than 1 % above the smallest member's, {}: the rest would be unused "
                  "(--force makes it so)",
                  path_of(most), format_size(*most), format_size(*least)));
}

class Maker {
 public:
  explicit Maker(const Plan& plan) : plan_(plan) {}
  ~Maker() {
    if (keep_) return;
    for (const std::string& path : made_) unlink(path.c_str());
    if (made_folder_) rmdir(plan_.folder.c_str());
  }

  Status make_images() {
    if (plan_.dry_run) return make_stand_ins();
    if (mkdir(plan_.folder.c_str(), 0777) == 0) {
      made_folder_ = true;
    } else if (errno != EEXIST) {
      return fail(Errc::io, fmt::format("{}: {}", plan_.folder, std::strerror(errno)));
    }
    for (std::size_t i = 0; i < plan_.paths.size(); ++i) {
      if (Status made = make(plan_.paths[i], plan_.sizes[i]); !made) return made;
    }
    return plan_.journal.empty() ? Status{} : make(plan_.journal, plan_.journal_bytes);
  }
  void keep() noexcept { keep_ = true; }
  // Of what is to be opened in place of the images; empty: the images.
  const std::vector<std::string>& stand_ins() const noexcept { return stand_ins_; }

 private:
  Status make_stand_ins() {
    std::vector<std::uint64_t> sizes = plan_.sizes;
    if (!plan_.journal.empty()) sizes.push_back(plan_.journal_bytes);
    for (const std::uint64_t size : sizes) {
      auto made = make_stand_in(size);
      if (!made) return std::unexpected(made.error());
      stand_ins_.push_back(std::move(*made));
    }
    return {};
  }

  Status make(const std::string& path, std::uint64_t bytes) {
    if (plan_.force || is_unfinished(path)) unlink(path.c_str());
    if (Status made = uring::create_image(path, bytes, uring::Allocation::sparse); !made) return made;
    made_.push_back(path);
    return {};
  }

  const Plan& plan_;
  std::vector<std::string> made_;
  std::vector<std::string> stand_ins_;
  bool made_folder_ = false;
  bool keep_ = false;
};

void print_made(const ArraySession& session, const raid::Array& array, const Plan& plan) {
  const raid::Geometry& geometry = array.geometry();
  std::string text = fmt::format("{}: {} of {} disks", session.place().label, name(geometry.level()), geometry.disks());
  const bool chunks = !geometry.is_mirror() && plan.config.chunk_bytes != 0;
  if (chunks) text += fmt::format(", chunk {}", format_size(geometry.chunk_bytes()));
  if (geometry.layout() != raid::Layout::none) text += fmt::format(", {}", name(geometry.layout()));
  if (geometry.redundancy() > 0) text += fmt::format(", consistency {}", name(plan.config.consistency));
  say(plan.dry_run,
      fmt::format("{}: {} usable ({} bytes)", text, format_size(array.exact_bytes()), array.exact_bytes()));
  if (geometry.redundancy() > 0 && !plan.folder.empty()) {
    say(plan.dry_run, "no resync is needed: fresh images are all zeroes, so redundancy is right already");
  }
}

// The opened disks in their places.
raid::ArrayDisks array_disks(const Plan& plan, const std::vector<Disk>& opened) {
  raid::ArrayDisks disks;
  auto next = opened.begin();
  for (std::size_t i = 0; i < plan.paths.size(); ++i) {
    raid::MemberDisk disk;
    if (plan.paths[i] != kMissing) {
      disk = {next->name, &next->device()};
      ++next;
    }
    (i < plan.disks ? disks.members : disks.spares).push_back(disk);
  }
  if (!plan.journal.empty()) disks.journal = raid::MemberDisk{next->name, &next->device()};
  return disks;
}

// Nothing is erased for an array that cannot be: it is made over the images first, in memory.
Task<Status> try_out(ArraySession& session, const Plan& plan, raid::ArrayConfig config) {
  lay_over(session.env().scheduler(), session.disks());
  config.tuning.hold_recovery = true;
  auto& env = session.env();
  auto made = co_await raid::Array::create(env.scheduler(), env.buffers(), env.random(), config,
                                           array_disks(plan, session.disks()), plan.assume_clean);
  if (made) co_await (*made)->stop();
  const Status outcome = made ? Status{} : std::unexpected(made.error());
  if (made) made->reset();
  for (Disk& disk : session.disks()) disk.overlay.reset();
  co_return outcome;
}

Task<Status> make_array(ArraySession& session, const Plan& plan, Maker& maker) {
  const Place place{plan.config.name, plan.folder, present_paths(plan), {}};
  Place opened_place = place;
  if (!maker.stand_ins().empty()) opened_place.paths = maker.stand_ins();
  if (Status opened = co_await session.open_to_write(opened_place, plan.dry_run); !opened) co_return opened;
  const std::vector<std::string> names = short_names(place.paths);
  for (std::size_t i = 0; i < names.size(); ++i) session.disks()[i].name = names[i];
  if (Status opened = check_opened(session.disks()); !opened) co_return opened;
  std::vector<std::uint64_t> sizes;
  for (const Disk& disk : session.disks()) sizes.push_back(disk.image->size_bytes());
  if (!plan.journal.empty()) sizes.pop_back();
  if (Status fits = check_sizes(plan, place.paths, sizes); !fits) co_return fits;
  if (plan.folder.empty() && plan.force && !plan.dry_run) {
    if (Status possible = co_await try_out(session, plan, plan.config); !possible) co_return possible;
    for (const std::string& path : place.paths) {
      if (Status erased = erase_signatures(path); !erased) co_return erased;
    }
  }
  const raid::ArrayDisks disks = array_disks(plan, session.disks());
  auto& env = session.env();
  raid::ArrayConfig config = plan.config;
  config.tuning.unix_time_at_zero = unix_time_at_zero(env.scheduler());
  config.tuning.hold_recovery = plan.dry_run;
  auto made =
      co_await raid::Array::create(env.scheduler(), env.buffers(), env.random(), config, disks, plan.assume_clean);
  if (!made) co_return std::unexpected(made.error());
  maker.keep();
  session.adopt(std::move(*made));
  print_made(session, session.array(), plan);
  if (!plan.assume_clean && !plan.dry_run) {
    if (Status synced = co_await session.finish_recovery(); !synced) co_return synced;
  }
  if (Status stopped = co_await session.stop(); !stopped) co_return stopped;
  if (const std::string step = next_step(session.array(), place_words(session.place())); !step.empty()) {
    say(plan.dry_run, fmt::format("{}: {}", session.place().label, state_text(session.array())));
    say(plan.dry_run, step);
  }
  co_return Status{};
}

int run_create(const CommandLine& line) {
  const auto plan = read_plan(line);
  if (!plan) return refuse_usage("create", plan.error().what);
  const Status checked = plan->folder.empty() ? check_devices(*plan) : check_folder(*plan);
  if (!checked) return refuse("create", checked.error());
  Maker maker(*plan);
  if (!plan->folder.empty()) {
    if (Status sized = check_sizes(*plan, plan->paths, plan->sizes); !sized) return refuse("create", sized.error());
    if (Status made = maker.make_images(); !made) return refuse("create", made.error());
  }
  return run_session("create", [&](ArraySession& session) { return make_array(session, *plan, maker); });
}

}  // namespace

constexpr CommandSpec kCreateCommand = {
    .name = "create",
    .meaning = "make an array on image files or block devices",
    .words = "DIR",
    .usage =
        "DIR --level L --disks N --size SIZE [OPTIONS]\n"
        "--level L --devices FILE... [OPTIONS]",
    .description =
        "Makes an array in Linux md's format (metadata 1.2): images disk0.img, disk1.img, ... (spare0.img, "
        "journal.img) in "
        "the folder DIR, or superblocks on files and block devices that are there.\n\n"
        "Disks: linear, RAID 0 and 1 from 1, RAID 4 and 5 from 2, RAID 6 from 4, RAID 10 from as many as copies (2); "
        "up to "
        "1920, RAID 6 255, with a journal 203.",
    .options =
        {
            {"level,l", "linear|0|1|4|5|6|10", "the RAID level"},
            {"disks,n", "N", "members; with --devices: default all of them but spares and journal"},
            {"size,z", "SIZE[,SIZE...]", "of each image, one for all or one for each member and spare"},
            {"devices", "FILE...",
             "make it on these files or block devices, not on fresh images; the word missing: none yet"},
            {"chunk,c", "SIZE",
             "chunk size: a power of two from 4K on; RAID 0: any multiple of 512; linear: rounds members down, by "
             "default it does not",
             "64K"},
            {"layout,p", "NAME",
             "left-symmetric and the others of RAID 5 and 6, near-2 to near-255 of RAID 10; default md's"},
            {"spares,x", "S", "spares beside the members", "0"},
            {"consistency,k", "resync|bitmap|journal", "what a crash costs: docs/arrays.md", "resync"},
            {"journal-size", "SIZE", "of the journal image", "64M"},
            {"journal", "FILE", "with --devices: the file or block device for the journal"},
            {"name,N", "NAME", "the array's name, default the folder's"},
            {"uuid,u", "UUID", "the array's UUID, 32 hex digits as mdadm prints them; default random"},
            {"data-offset", "SIZE",
             "where data begins on each member: KiB, or with a suffix (s: sectors); default mdadm's"},
            {"bitmap-chunk", "SIZE",
             "bytes for each bit of the bitmap: KiB, or with a suffix; default the finest that fits"},
            {"assume-clean", nullptr, "with --devices: they are consistent already, do not resync"},
            {"force", nullptr, "also on what holds a file system, a partition table or another array"},
            kDryRun,
        },
    .examples = {"resilver create vm --level 5 --disks 3 --size 1G",
                 "resilver create vm --level 6 --disks 6 --size 10G --chunk 512K --spares 1 --consistency bitmap",
                 "resilver create --level 1 --devices /dev/sdb /dev/sdc",
                 "resilver create --level 5 --assume-clean --data-offset 2048s --devices a.img missing c.img"},
    .exits = {{0, "made"}, {1, "refused (nothing was written)"}, cli::kBadUsageExit, cli::kInterruptedExit},
    .run = run_create,
};

}  // namespace resilver::tools
