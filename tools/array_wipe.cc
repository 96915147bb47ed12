// `resilver wipe`: erases md superblocks, of every metadata version, from what is no member of an array any more.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include "tools/array_session.h"
#include "tools/command.h"
#include "tools/commands.h"

namespace resilver::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLeastSectors = 128;  // 0.90 begins in the last 64 KiB

// A superblock on a disk, of whichever version.
struct FoundSuper {
  std::size_t disk = 0;
  raid::MetadataPlace place;
  raid::Uuid uuid{};  // of the array
};

raid::Uuid uuid_in(const Buffer& block, bool old) {
  raid::Uuid uuid{};
  if (old) {  // 0.90 keeps the first word apart
    std::memcpy(uuid.data(), block.data() + 20, 4);
    std::memcpy(uuid.data() + 4, block.data() + 52, 12);
  } else {
    std::memcpy(uuid.data(), block.data() + 16, 16);
  }
  return uuid;
}

std::vector<raid::MetadataPlace> all_places(std::uint64_t sectors) {
  std::vector<raid::MetadataPlace> places = {{}};
  if (sectors >= kLeastSectors) {
    for (const raid::MetadataPlace& place : raid::other_metadata(sectors)) places.push_back(place);
  }
  return places;
}

Task<Status> find_supers(ArraySession& session, const std::vector<Disk>& disks, std::vector<FoundSuper>& found) {
  const Buffer block = session.env().buffers().allocate(raid::kSuperblockBytes);
  if (!block) co_return fail(Errc::limit, "no memory for a buffer");
  for (std::size_t i = 0; i < disks.size(); ++i) {
    if (!disks[i].image) continue;
    for (const raid::MetadataPlace& place : all_places(disks[i].image->size_bytes() / kSectorBytes)) {
      const std::uint64_t at = place.sector * kSectorBytes;
      if (at + block.size() > disks[i].image->size_bytes()) continue;
      if (const Errc read = co_await Io::read(*disks[i].image, at, block); read != Errc::ok) {
        co_return fail(read, fmt::format("{}: cannot be read: {}", disks[i].path, errc_name(read)));
      }
      if (!raid::holds_metadata(std::span<const std::byte, 512>(block.data(), 512), place)) continue;
      found.push_back({i, place, uuid_in(block, place.version == raid::MetadataVersion::v0_90)});
    }
  }
  co_return Status{};
}

// Does the array that the others make count on this disk?
bool is_current(const Disk& disk, const raid::Superblock& fresh) {
  if (!disk.super) return false;
  const raid::Superblock& own = *disk.super;
  if (own.role() == raid::kRoleFaulty) return false;
  const std::uint16_t role = own.dev_number < fresh.roles.size() ? fresh.roles[own.dev_number] : raid::kRoleFaulty;
  if (role == raid::kRoleSpare) return own.role() == raid::kRoleSpare;
  return role != raid::kRoleFaulty && own.events + 1 >= fresh.events;
}

// The other images in the folders of these.
std::vector<std::string> neighbours(const std::vector<std::string>& paths) {
  std::set<std::string> folders;
  std::vector<std::string> others;
  for (const std::string& path : paths) {
    std::error_code error;
    const fs::path folder = fs::absolute(path, error).parent_path();
    if (!fs::is_regular_file(path, error) || !folders.insert(folder).second) continue;
    const auto place = find_place({folder});
    if (!place) continue;
    for (const std::string& other : place->paths) {
      if (!find_path(paths, other)) others.push_back(other);
    }
  }
  return others;
}

struct Wipe {
  Place place;
  bool force = false;
  bool dry_run = false;
};

Status check_unused(const std::vector<Disk>& disks, std::size_t named, const std::vector<FoundSuper>& found) {
  for (const FoundSuper& super : found) {
    if (super.disk >= named) continue;
    const Disk& disk = disks[super.disk];
    const auto other = std::ranges::find_if(found, [&super](const FoundSuper& one) {
      return one.disk != super.disk && one.place.version == super.place.version && one.uuid == super.uuid;
    });
    if (other == found.end()) continue;
    const raid::Superblock* fresh = super.place == raid::MetadataPlace() ? freshest(disks, super.uuid) : nullptr;
    if (fresh != nullptr && disk.super && !is_current(disk, *fresh)) continue;
    return fail(Errc::exists, fmt::format("{}: in use: a member of the array of {} (--force wipes it nevertheless)",
                                          disk.path, disks[other->disk].path));
  }
  return {};
}

Task<Status> erase(ArraySession& session, const Disk& disk, const FoundSuper& super) {
  const Buffer zeroes = session.env().buffers().allocate(raid::kSuperblockBytes);
  if (!zeroes) co_return fail(Errc::limit, "no memory for a buffer");
  std::memset(zeroes.data(), 0, zeroes.size());
  const Errc written = co_await Io::write(disk.device(), super.place.sector * kSectorBytes, zeroes, true);
  if (written != Errc::ok)
    co_return fail(written, fmt::format("{}: cannot be written: {}", disk.path, errc_name(written)));
  say(disk.overlay != nullptr,
      fmt::format("{}: superblock {} at sector {} erased", disk.path, name(super.place.version), super.place.sector));
  co_return Status{};
}

Task<Status> wipe(ArraySession& session, const Wipe& work) {
  if (Status opened = co_await session.open_to_write(work.place, work.dry_run); !opened) co_return opened;
  std::vector<Disk>& disks = session.disks();
  if (Status opened = check_opened(disks); !opened) co_return opened;
  const std::size_t named = disks.size();
  auto others = co_await open_disks(session.env(), neighbours(work.place.paths), uring::Access::look);
  if (!others) co_return std::unexpected(others.error());
  for (Disk& other : *others) session.keep(std::move(other));
  std::vector<FoundSuper> found;
  if (Status read = co_await find_supers(session, disks, found); !read) co_return read;
  for (std::size_t i = 0; i < named; ++i) {
    if (std::ranges::find(found, i, &FoundSuper::disk) == found.end()) {
      co_return fail(Errc::not_found, fmt::format("{}: holds no md superblock; nothing was erased", disks[i].path));
    }
  }
  if (!work.force) {
    if (Status unused = check_unused(disks, named, found); !unused) co_return unused;
  }
  for (const FoundSuper& super : found) {
    if (super.disk >= named) continue;
    if (Status erased = co_await erase(session, disks[super.disk], super); !erased) co_return erased;
  }
  co_return Status{};
}

int run_wipe(const CommandLine& line) {
  if (line.words.empty()) return refuse_usage("wipe", "expected images");
  const auto place = find_place(line.words);
  if (!place) return refuse("wipe", place.error());
  if (!place->folder.empty()) return refuse_usage("wipe", "expected images, not a folder");
  const Wipe work{*place, line.has("force"), line.has("dry-run")};
  return run_session("wipe", [&work](ArraySession& session) { return wipe(session, work); });
}

}  // namespace

constexpr CommandSpec kWipeCommand = {
    .name = "wipe",
    .meaning = "erase the superblock of what is no member any more",
    .words = "IMAGE...",
    .description =
        "Erases the md superblock (1.2, and 0.90, 1.0, 1.1) of images and block devices that are no members any "
        "more, so that nothing takes them for some. Their data stays. A member that its array counts on is "
        "refused, where other members are named or lie in the same folder.",
    .options = {{"force", nullptr, "also members of an array whose other members are there"}, kDryRun},
    .examples = {"resilver remove vm disk1 && resilver wipe vm/disk1.img", "resilver wipe /dev/sdd"},
    .exits = {{0, "erased"}, {1, "refused (nothing was written) or failed"}, cli::kBadUsageExit},
    .run = run_wipe,
};

}  // namespace resilver::tools
