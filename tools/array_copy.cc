// `resilver import` and `export`: a file into an array and back, any offset and length, many requests at a time.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>

#include "base/units.h"
#include "tools/array_command.h"
#include "tools/array_copier.h"
#include "tools/array_main.h"

namespace resilver::tools {
namespace {

struct Copy : FileCopy {
  Place place;
  StartOptions start;
};

bool is_one_of(const std::vector<Disk>& disks, int fd) {
  struct stat file, image;
  if (fstat(fd, &file) != 0) return false;
  return std::ranges::any_of(disks, [&](const Disk& disk) {
    return stat(disk.path.c_str(), &image) == 0 && image.st_dev == file.st_dev && image.st_ino == file.st_ino;
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
  if (is_one_of(session.disks(), file.fd)) co_return fail(Errc::bad_input, copy.file + ": is an image of this array");
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

// What is read must be what was written last, or be called doubtful.
Status check_trusted(const ArraySession& session, const raid::Array& array, bool force) {
  if (!array.doubtful()) return {};
  const std::string why = "dirty and degraded: blocks of the missing member may be wrong";
  if (!force) {
    return fail(Errc::unavailable, fmt::format("{}: {} (--force exports it nevertheless)", session.place().label, why));
  }
  fmt::print(stderr, "resilver {}: {}: {}\n", session.command(), session.place().label, why);
  return {};
}

Task<Status> export_file(ArraySession& session, Copy copy) {
  if (Status opened = co_await session.open(copy.place, uring::Access::read_only); !opened) co_return opened;
  StartOptions start = copy.start;
  start.check = [&session, &copy](const raid::Array& array) { return check_trusted(session, array, copy.start.force); };
  if (Status started = co_await session.start(std::move(start)); !started) co_return started;
  if (Status good = check_range(session.place().label, session.array().exact_bytes(), copy); !good) co_return good;
  Descriptor file;
  if (Status target = open_target(copy, file); !target) co_return target;
  if (is_one_of(session.disks(), file.fd)) {
    co_return fail(Errc::bad_input, fmt::format("{}: is an image of {}", copy.file, session.place().label));
  }
  const auto bytes = co_await export_to(end_of(session), copy, file.fd);
  if (!bytes) co_return std::unexpected(bytes.error());
  if (copy.file != "-") {
    fmt::print("{} bytes from {} at byte {} into {}\n", *bytes, session.place().label, copy.offset, copy.file);
  }
  co_return Status{};
}

constexpr OptionSpec kForce = {
    "force", nullptr, "leave out images that cannot be used; start a dirty and degraded array (blocks may be wrong)"};
constexpr OptionSpec kImportOptions[] = {{"offset", "SIZE", "first byte of the array, default 0"},
                                         {"length", "SIZE", "at most so many bytes, default to the end of FILE"},
                                         kForce};
constexpr CommandSpec kImport = {
    "import",
    "Usage: resilver import DIR|IMAGE... FILE [OPTIONS]\n\n"
    "Writes a file (-: standard input) into the array. Zeroes over zeroes are not written.",
    kImportOptions,
    "Examples:\n"
    "  resilver import vm debian.raw\n"
    "  tar c /etc | resilver import vm - --offset 1G\n\n"
    "Exit: 0 done, 1 refused (nothing was written) or failed, 2 bad usage, 130 interrupted.\n"};

constexpr OptionSpec kExportOptions[] = {{"offset", "SIZE", "first byte of the array, default 0"},
                                         {"length", "SIZE", "so many bytes, default to the end of the array"},
                                         kForce};
constexpr CommandSpec kExport = {
    "export",
    "Usage: resilver export DIR|IMAGE... FILE [OPTIONS]\n\n"
    "Reads the array into a file (-: standard output), with holes where it is zero. Lost members are\n"
    "computed from the others. Nothing is written to any image.",
    kExportOptions,
    "Examples:\n"
    "  resilver export vm copy.raw\n"
    "  resilver export vm/disk0.img vm/disk2.img - --offset 1G --length 10M | tar t\n\n"
    "Exit: 0 done, 1 refused or failed, 2 bad usage, 130 interrupted.\n"};

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

}  // namespace

int import_main(int argc, char** argv) {
  int code = kDone;
  const auto line = read_command_line(argc, argv, kImport, code);
  if (!line) return code;
  const auto copy = read_copy(*line, code);
  if (!copy) return code;
  return run_session("import", [&copy](ArraySession& session) { return import_file(session, *copy); });
}

int export_main(int argc, char** argv) {
  int code = kDone;
  const auto line = read_command_line(argc, argv, kExport, code);
  if (!line) return code;
  auto copy = read_copy(*line, code);
  if (!copy) return code;
  copy->start.read_only = true;
  return run_session("export", [&copy](ArraySession& session) { return export_file(session, *copy); });
}

}  // namespace resilver::tools
