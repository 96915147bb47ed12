// `resilver import` and `export`: a file into an array and back, any offset and length, many requests at a time.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ranges>

#include "base/units.h"
#include "tools/array_copier.h"
#include "tools/array_partition.h"
#include "tools/array_show.h"
#include "tools/array_target.h"
#include "tools/command.h"
#include "tools/commands.h"
#include "tools/rescue_map.h"

namespace resilver::tools {
namespace {

struct Copy : FileCopy {
  Place place;
  StartOptions start;
  std::string map;  // of a rescue; empty: none
};

bool is_one_of(const std::vector<Disk>& disks, const struct stat& file) {
  struct stat image;
  return std::ranges::any_of(disks, [&](const Disk& disk) {
    return stat(file_of(disk.path).c_str(), &image) == 0 && image.st_dev == file.st_dev && image.st_ino == file.st_ino;
  });
}

CopyEnd end_of(ArraySession& session) {
  const std::uint64_t stripe = session.array().geometry().stripe_data_bytes();
  const bool blocks = stripe % kBlockBytes == 0;  // else two pieces would share one
  const std::uint64_t piece = blocks && stripe <= kMaxPiece ? std::max<std::uint64_t>(kMaxPiece / 4 / stripe, 1) * stripe
                                                            : BufferPool::kMaxBlock;
  return {
      session.env(), session.array(), session.array().exact_bytes(), session.place().label, "array", piece, [&session] {
        return session.interrupted();
      }};
}

Task<Status> import_file(ArraySession& session, Copy copy) {
  Descriptor file;
  if (Status source = open_source(copy, file); !source) co_return source;
  if (Status opened = co_await session.open(copy.place, uring::Access::read_write); !opened) co_return opened;
  struct stat source_file;
  if (fstat(file.fd, &source_file) == 0 && is_one_of(session.disks(), source_file)) {
    co_return fail(Errc::bad_input, copy.file + ": is an image of this array");
  }
  StartOptions start = copy.start;
  start.check = [&](const raid::Array& array) {
    return check_fits(session.place().label, array.exact_bytes(), copy, file.fd);
  };
  if (Status started = co_await session.start(std::move(start)); !started) co_return started;
  const auto bytes = co_await import_from(end_of(session), copy, file.fd);
  if (!bytes) co_return std::unexpected(bytes.error());
  if (Status stopped = co_await session.stop(); !stopped) co_return stopped;
  fmt::print("{} bytes into {} at byte {}: {}\n", *bytes, session.place().label, copy.offset,
             state_text(session.array()));
  co_return Status{};
}

// What only a rescue reads is an error here that says so.
Status with_hint(Status outcome) {
  if (outcome) return outcome;
  const Errc code = outcome.error().code;
  const bool helps = code == Errc::medium || code == Errc::unavailable || code == Errc::io || code == Errc::device_gone;
  if (!helps || outcome.error().what.contains("--rescue")) return outcome;
  return fail(code, outcome.error().what + "; export --rescue MAP copies what can be read");
}

// What is read must be what was written last, or be called doubtful.
Status check_trusted(const ArraySession& session, const raid::Array& array, bool force) {
  if (!array.doubtful()) return {};
  const raid::Superblock* fresh = freshest_superblock(session);
  const bool journal = fresh != nullptr && (fresh->feature_map & raid::kFeatureJournal) != 0;
  const std::string why = "dirty and degraded: blocks of the missing member may be wrong";
  if (!force) {
    const std::string cure =
        journal ? fmt::format("resilver assemble {} replays the journal; ", place_words(session.place())) : "";
    return fail(Errc::unavailable,
                fmt::format("{}: {} ({}--force exports it nevertheless)", session.place().label, why, cure));
  }
  fmt::print(stderr, "resilver {}: {}: {}\n", session.command(), session.place().label, why);
  return {};
}

Status refuse_image(const ArraySession& session, const std::string& file) {
  return fail(Errc::bad_input, fmt::format("{}: is an image of {}", file, session.place().label));
}

Task<Status> export_whole(ArraySession& session, const Copy& copy) {
  Target target;
  if (Status opened = target.open(copy.file); !opened) co_return opened;
  if (is_one_of(session.disks(), target.there())) co_return refuse_image(session, copy.file);
  const auto bytes = co_await export_to(end_of(session), copy, target.fd());
  if (!bytes) co_return with_hint(std::unexpected(bytes.error()));
  if (Status made = target.commit(); !made) co_return made;
  if (copy.file != "-") {
    fmt::print("{} bytes from {} at byte {} into {}\n", *bytes, session.place().label, copy.offset, copy.file);
  }
  co_return Status{};
}

// ---- rescue ----

// Opens the file that a rescue fills, with the size that it is to have. One of which the map says that parts are copied must
// hold them; else it begins anew.
Status open_rescued(const Copy& copy, const RescueMap& map, Descriptor& file) {
  const bool goes_on = map.any_copied();
  file.fd = open(copy.file.c_str(), O_RDWR | O_CLOEXEC | (goes_on ? 0 : O_CREAT), 0666);
  if (file.fd < 0 && goes_on && errno == ENOENT) {
    return fail(Errc::not_found,
                fmt::format("{}: is not there, but {} says that parts of it were copied: remove the map "
                            "to begin anew",
                            copy.file, copy.map));
  }
  struct stat status;
  if (file.fd < 0 || fstat(file.fd, &status) != 0) return std::unexpected(file_error(copy.file));
  if (S_ISBLK(status.st_mode)) return {};
  if (!S_ISREG(status.st_mode)) {
    return fail(Errc::bad_input, copy.file + ": --rescue needs a file or a block device");
  }
  if (!goes_on && ftruncate(file.fd, 0) != 0) return std::unexpected(file_error(copy.file));
  if (ftruncate(file.fd, static_cast<off_t>(copy.length)) != 0) return std::unexpected(file_error(copy.file));
  return {};
}

// Nothing is written to an image by mistake.
Status check_rescue_files(const ArraySession& session, const Copy& copy) {
  struct stat file, map;
  const bool has_file = stat(copy.file.c_str(), &file) == 0;
  const bool has_map = stat(copy.map.c_str(), &map) == 0;
  if (has_file && is_one_of(session.disks(), file)) return refuse_image(session, copy.file);
  const bool same =
      copy.map == copy.file || (has_file && has_map && file.st_dev == map.st_dev && file.st_ino == map.st_ino);
  if (same) return fail(Errc::bad_input, fmt::format("--rescue: {} is the map and the file", copy.map));
  if (has_map && (!S_ISREG(map.st_mode) || is_one_of(session.disks(), map))) {
    return fail(Errc::bad_input, fmt::format("--rescue: {} is no map", copy.map));
  }
  return {};
}

Status tell_lost(const ArraySession& session, const Copy& copy, const std::vector<RescueMap::Part>& lost) {
  constexpr std::size_t kShown = 20;
  if (lost.empty()) return {};
  std::uint64_t bytes = 0;
  for (const RescueMap::Part& part : lost) bytes += part.end - part.begin;
  fmt::print("lost:\n");
  for (const RescueMap::Part& part : lost | std::views::take(kShown)) {
    fmt::print("  {} bytes at byte {}\n", part.end - part.begin, part.begin);
  }
  if (lost.size() > kShown) fmt::print("  and {} more places\n", lost.size() - kShown);
  return fail(Errc::medium, fmt::format("{}: {} bytes in {} places are lost, and holes in {}; the same command tries "
                                        "them again",
                                        session.place().label, bytes, lost.size(), copy.file));
}

Task<Status> export_rescued(ArraySession& session, const Copy& copy) {
  if (Status good = check_rescue_files(session, copy); !good) co_return good;
  RescueMap map(copy.offset + copy.length);
  if (Status loaded = map.load(copy.map); !loaded) co_return loaded;
  Descriptor file;
  if (Status opened = open_rescued(copy, map, file); !opened) co_return opened;
  const auto bytes = co_await rescue_to(end_of(session), copy, file.fd, map, copy.map);
  if (!bytes) co_return std::unexpected(bytes.error());
  fmt::print("{} bytes from {} at byte {} into {}, by the map {}\n", copy.length, session.place().label, copy.offset,
             copy.file, copy.map);
  co_return tell_lost(session, copy, map.lost(copy.offset, copy.offset + copy.length));
}

Task<Status> export_file(ArraySession& session, Copy copy) {
  StartOptions start = copy.start;
  if (copy.map.empty()) {
    start.check = [&](const raid::Array& array) { return check_trusted(session, array, copy.start.force); };
  }
  if (Status started = co_await session.open_to_read(copy.place, std::move(start)); !started)
    co_return with_hint(started);
  if (Status good = check_range(session.place().label, session.array().exact_bytes(), copy); !good) co_return good;
  if (copy.map.empty()) co_return co_await export_whole(session, copy);
  if (const std::string doubt = session.array().doubt(); !doubt.empty()) {
    fmt::print(stderr, "resilver export: {}: {}\n", session.place().label, doubt);
  }
  co_return co_await export_rescued(session, copy);
}

constexpr OptionSpec kForce = {
    "force", nullptr, "leave out images that cannot be used; start a dirty and degraded array (blocks may be wrong)"};
std::optional<Copy> read_copy(const CommandLine& line, int& code) {
  Copy copy;
  if (line.words.size() < 2) {
    code = refuse_usage(line.command, "expected a folder or images, then a file");
    return std::nullopt;
  }
  const auto offset = line.size_of("offset", 0);
  const auto length = line.size_of("length", kUnknown);
  if (!offset || !length) {
    code = refuse_usage(line.command, (offset ? length : offset).error().what);
    return std::nullopt;
  }
  const auto place = find_place({line.words.begin(), line.words.end() - 1});
  if (!place) {
    code = refuse(line.command, place.error());
    return std::nullopt;
  }
  copy.place = *place;
  copy.file = line.words.back();
  copy.offset = *offset;
  copy.length = *length;
  copy.start.force = line.has("force");
  copy.start.leave_out = copy.start.force;
  copy.start.tuning.hold_recovery = true;
  return copy;
}

int run_import(const CommandLine& line) {
  int code = kDone;
  const auto copy = read_copy(line, code);
  if (!copy) return code;
  return run_session("import", [&copy](ArraySession& session) { return import_file(session, *copy); });
}

int run_export(const CommandLine& line) {
  int code = kDone;
  auto copy = read_copy(line, code);
  if (!copy) return code;
  copy->map = line.text("rescue");
  if (!copy->map.empty()) {
    if (copy->file == "-") return refuse_usage("export", "--rescue: standard output has no place for what comes later");
    copy->start.rescue = copy->start.leave_out = true;
  }
  return run_session("export", [&copy](ArraySession& session) { return export_file(session, *copy); });
}

}  // namespace

constexpr CommandSpec kImportCommand = {
    .name = "import",
    .meaning = "write a file into an array",
    .words = "DIR|IMAGE... FILE",
    .description = "Writes a file (-: standard input) into the array. Zeroes over zeroes are not written.",
    .options = {{"offset", "SIZE", "first byte of the array", "0"},
                {"length", "SIZE", "at most so many bytes, default to the end of FILE"},
                kForce},
    .examples = {"resilver import vm debian.raw", "tar c /etc | resilver import vm - --offset 1G"},
    .exits = {{0, "done"}, {1, "refused (nothing was written) or failed"}, cli::kBadUsageExit, cli::kInterruptedExit},
    .run = run_import,
};

constexpr CommandSpec kExportCommand = {
    .name = "export",
    .meaning = "read an array into a file",
    .words = "DIR|IMAGE... FILE",
    .description =
        "Reads the array into a file (-: standard output), with holes where it is zero. Lost members are computed from "
        "the "
        "others. Nothing is written to any image. FILE has its name only when it is whole.\n\n"
        "With --rescue what cannot be read is left out: FILE has its full length, with holes there, and the map (of "
        "GNU "
        "ddrescue's form) names them. The same command again goes on with what is not copied. It reads arrays that too "
        "many members have left, too, and dirty and degraded ones.",
    .options = {{"offset", "SIZE", "first byte of the array", "0"},
                {"length", "SIZE", "so many bytes, default to the end of the array"},
                {"rescue", "FILE", "copy what can be read; this map says what not, and where to go on"},
                kForce},
    .examples = {"resilver export vm copy.raw", "resilver export vm copy.raw --rescue copy.map",
                 "resilver export vm/disk0.img vm/disk2.img - --offset 1G --length 10M | tar t"},
    .exits = {{0, "done"}, {1, "refused, failed, or something is lost"}, cli::kBadUsageExit, cli::kInterruptedExit},
    .run = run_export,
};

}  // namespace resilver::tools
