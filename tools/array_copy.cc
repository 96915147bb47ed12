// `resilver import` and `export`: a file into an array and back, any offset and length, many requests at a time.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/units.h"
#include "tools/array_command.h"
#include "tools/array_copier.h"
#include "tools/array_main.h"

namespace resilver::tools {
namespace {

struct Descriptor {
  Descriptor() = default;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd > STDERR_FILENO) close(fd);
  }
  int fd = -1;
};

// ---- import ----

bool is_one_of(const std::vector<Disk>& disks, int fd) {
  struct stat file, image;
  if (fstat(fd, &file) != 0) return false;
  return std::ranges::any_of(disks, [&](const Disk& disk) {
    return stat(disk.path.c_str(), &image) == 0 && image.st_dev == file.st_dev && image.st_ino == file.st_ino;
  });
}

// Refused before anything is written where the size is known; else when the pipe has more than fits.
Status check_fits(const ArraySession& session, const raid::Array& array, Copy& copy, int fd) {
  if (copy.offset > array.size_bytes()) {
    return fail(Errc::bad_input, fmt::format("--offset: {} is behind the end of {} ({} bytes)", copy.offset,
                                             session.place().label, array.size_bytes()));
  }
  struct stat status;
  const bool known = fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
  const off_t size = known ? lseek(fd, 0, SEEK_END) : -1;
  if (size >= 0) copy.length = std::min(copy.length, static_cast<std::uint64_t>(size));
  const std::uint64_t room = array.size_bytes() - copy.offset;
  if (copy.length != kUnknown && copy.length > room) {
    return fail(Errc::no_space, fmt::format("{}: {} bytes do not fit into the {} bytes of {} from byte {} on",
                                            copy.file, copy.length, room, session.place().label, copy.offset));
  }
  return {};
}

Status check_pipe_ended(const Copy& copy, const raid::Array& array, const Copier& copier, int fd) {
  std::byte more;
  if (copy.length != kUnknown || copier.done() < array.size_bytes() - copy.offset || read(fd, &more, 1) <= 0) return {};
  return fail(Errc::no_space,
              fmt::format("{}: more than the {} bytes that fit; the rest is left", copy.file, copier.done()));
}

Task<Status> import_file(ArraySession& session, Copy copy) {
  Descriptor file;
  file.fd = copy.file == "-" ? STDIN_FILENO : open(copy.file.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd < 0) co_return std::unexpected(file_error(copy.file));
  if (Status opened = co_await session.open(copy.place, uring::Access::read_write); !opened) co_return opened;
  if (is_one_of(session.disks(), file.fd)) co_return fail(Errc::bad_input, copy.file + ": is an image of this array");
  StartOptions start = copy.start;
  start.check = [&](const raid::Array& array) { return check_fits(session, array, copy, file.fd); };
  if (Status started = co_await session.start(std::move(start)); !started) co_return started;
  Copier copier(session, copy, file.fd);
  if (Status done = co_await copier.run(true); !done) co_return done;
  if (Status ended = check_pipe_ended(copy, session.array(), copier, file.fd); !ended) co_return ended;
  if (const Errc flushed = co_await Io::flush(session.array()); flushed != Errc::ok) {
    co_return fail(flushed, fmt::format("flush: {}", errc_name(flushed)));
  }
  if (Status stopped = co_await session.stop(); !stopped) co_return stopped;
  fmt::print("{} bytes into {} at byte {}: {}\n", copier.done(), session.place().label, copy.offset,
             state_text(session.array()));
  co_return Status{};
}

// ---- export ----

Status open_target(const Copy& copy, const ArraySession& session, const std::vector<Disk>& disks, Descriptor& file) {
  file.fd = copy.file == "-" ? STDOUT_FILENO : open(copy.file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (file.fd < 0) return std::unexpected(file_error(copy.file));
  if (is_one_of(disks, file.fd)) {
    return fail(Errc::bad_input, fmt::format("{}: is an image of {}", copy.file, session.place().label));
  }
  struct stat status;
  const bool regular = fstat(file.fd, &status) == 0 && S_ISREG(status.st_mode) && copy.file != "-";
  // Its size from the start: what is zero is then left out, a hole.
  if (regular && (ftruncate(file.fd, 0) != 0 || ftruncate(file.fd, static_cast<off_t>(copy.length)) != 0)) {
    return std::unexpected(file_error(copy.file));
  }
  return {};
}

Task<Status> export_file(ArraySession& session, Copy copy) {
  if (Status opened = co_await session.open(copy.place, uring::Access::read_only); !opened) co_return opened;
  if (Status started = co_await session.start(copy.start); !started) co_return started;
  const std::uint64_t size = session.array().size_bytes();
  if (copy.offset > size || (copy.length != kUnknown && copy.length > size - copy.offset)) {
    co_return fail(Errc::bad_input,
                   fmt::format("--offset, --length: {} has only {} bytes", session.place().label, size));
  }
  if (copy.length == kUnknown) copy.length = size - copy.offset;
  Descriptor file;
  if (Status target = open_target(copy, session, session.disks(), file); !target) co_return target;
  Copier copier(session, copy, file.fd);
  if (Status done = co_await copier.run(false); !done) co_return done;
  if (copy.file != "-") {
    fmt::print("{} bytes from {} at byte {} into {}\n", copier.done(), session.place().label, copy.offset, copy.file);
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
