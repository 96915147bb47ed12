#include "tools/array_update.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "raid/bitmap_format.h"

namespace resilver::tools {
namespace {

using raid::Superblock;

constexpr std::uint32_t kBlockSectors = kBlockBytes / kSectorBytes;
constexpr std::array<std::string_view, 11> kWords = {
    "resync", "name",      "uuid",       "no-bbl",          "force-no-bbl",    "bbl",
    "bitmap", "no-bitmap", "devicesize", "layout-original", "layout-alternate"};

bool is_current(const Superblock& super, const Superblock& fresh) {
  if (super.events + 1 < fresh.events || super.dev_number >= fresh.roles.size()) return false;
  return fresh.roles[super.dev_number] != raid::kRoleFaulty;
}

bool is_member(const Superblock& super) { return super.role() < super.raid_disks; }

// ---- what each word does to one superblock ----

Status drop_log(Superblock& super, bool force) {
  if (!force && (super.feature_map & raid::kFeatureBadBlocks) != 0) {
    return fail(Errc::bad_input,
                "its bad-block log is not empty: what it names would read as if it were right "
                "(force-no-bbl does it nevertheless)");
  }
  super.bblog_size_sectors = 0;
  super.bblog_offset = 0;
  super.feature_map &= ~raid::kFeatureBadBlocks;
  return {};
}

// Behind the bitmap, or behind the space for one.
Status add_log(Superblock& super) {
  if (super.has_bad_block_log()) return {};
  const auto room = static_cast<std::int64_t>(super.data_offset_sectors - raid::kSuperOffsetSectors);
  std::int64_t at = raid::choose_bad_block_offset(super.level, super.data_offset_sectors + super.data_size_sectors, 0);
  if (at + kBlockSectors > room) at = room - kBlockSectors;
  const bool bitmap = (super.feature_map & raid::kFeatureBitmap) != 0;
  if (at < kBlockSectors || bitmap) {
    return fail(Errc::bad_input,
                bitmap ? "the bitmap may reach to where a log would lie: no-bitmap, bbl, bitmap, one by one"
                       : "there is no room for a log before the data");
  }
  super.bblog_offset = static_cast<std::int32_t>(at);
  super.bblog_size_sectors = kBlockSectors;
  super.bblog_shift = 0;
  return {};
}

Status add_bitmap(Superblock& super) {
  if ((super.feature_map & raid::kFeatureBitmap) != 0) return {};
  if (super.level == raid::Level::raid0) return fail(Errc::bad_input, "RAID 0 has no redundancy to keep");
  if ((super.feature_map & (raid::kFeatureJournal | raid::kFeaturePpl)) != 0) {
    return fail(Errc::bad_input, "an array with a journal or a PPL has no bitmap");
  }
  super.feature_map |= raid::kFeatureBitmap;
  super.bitmap_offset = kBlockSectors;
  return {};
}

Status choose_layout(Superblock& super, raid::Layout layout) {
  if (super.level != raid::Level::raid0) return fail(Errc::bad_input, "only RAID 0 has this choice");
  super.layout = layout;
  super.feature_map |= raid::kFeatureRaid0Layout;
  return {};
}

Status change(const Update& update, Superblock& super, std::uint64_t device_sectors) {
  const std::string& word = update.word;
  if (word == "uuid" && (super.feature_map & raid::kFeatureJournal) != 0) {
    return fail(Errc::bad_input, "the journal's blocks are told by the uuid");
  }
  if (word == "name") super.set_name = update.name;
  if (word == "uuid") super.set_uuid = update.uuid;
  if (word == "resync" && super.level != raid::Level::raid0) super.resync_offset_sectors = 0;
  if (word == "no-bitmap") super.feature_map &= ~(raid::kFeatureBitmap | raid::kFeatureRecoveryBitmap);
  if (word == "devicesize") super.data_size_sectors = device_sectors - super.data_offset_sectors;
  if (word == "no-bbl" || word == "force-no-bbl") return drop_log(super, word == "force-no-bbl");
  if (word == "layout-original") return choose_layout(super, raid::Layout::raid0_original);
  if (word == "layout-alternate") return choose_layout(super, raid::Layout::raid0_alternate);
  // Only members, and spares when they become members, have the two.
  if (word == "bbl" && !super.is_journal()) return add_log(super);
  if (word == "bitmap" && is_member(super)) return add_bitmap(super);
  return {};
}

struct Written {
  const Disk* disk;
  std::array<std::byte, raid::kSuperblockBytes> block;
};

// What is to be written, and accepted by our own reader.
Result<Written> prepare(const Update& update, const Disk& disk) {
  const std::uint64_t device_sectors = disk.image->size_bytes() / kSectorBytes;
  Superblock super = *disk.super;
  const auto refused = [&disk, &update](const std::string& why) {
    return fail(Errc::bad_input, fmt::format("{}: --update={}: {}; nothing was written", disk.name, update.word, why));
  };
  if (Status done = change(update, super, device_sectors); !done) return refused(done.error().what);
  const auto block = raid::encode_superblock(super);
  if (!block) return refused(block.error().what);
  if (const auto read = raid::decode_superblock(*block, device_sectors); !read) return refused(read.error().what);
  return Written{&disk, *block};
}

Task<Status> write_block(ArraySession& session, const Disk& disk, std::uint64_t sector,
                         std::span<const std::byte> bytes) {
  const Buffer block = session.env().buffers().allocate(kBlockBytes);
  if (!block) co_return fail(Errc::limit, "no memory for a buffer");
  std::memset(block.data(), 0, block.size());
  std::memcpy(block.data(), bytes.data(), bytes.size());
  const Errc status = co_await Io::write(disk.device(), sector * kSectorBytes, block, true);
  if (status == Errc::ok) co_return Status{};
  co_return fail(status, fmt::format("{}: cannot be written: {}", disk.name, errc_name(status)));
}

// What new structures begin with is there before a superblock names it: an empty log; no bitmap, of which the start makes a
// new one, for whose state the superblock answers.
Task<Status> write_begun(ArraySession& session, const Update& update, const Written& written) {
  const auto super = raid::decode_superblock(written.block, written.disk->image->size_bytes() / kSectorBytes);
  if (update.word == "bbl" && super->has_bad_block_log()) {
    const auto empty = raid::encode_bad_blocks({});
    const auto at = raid::kSuperOffsetSectors + static_cast<std::uint64_t>(super->bblog_offset);
    co_return co_await write_block(session, *written.disk, at, *empty);
  }
  if (update.word == "bitmap" && is_member(*super)) {
    const auto at = raid::kSuperOffsetSectors + static_cast<std::uint64_t>(super->bitmap_offset);
    co_return co_await write_block(session, *written.disk, at, {});
  }
  co_return Status{};
}

}  // namespace

Status check_update(const Update& update) {
  if (std::ranges::find(kWords, update.word) == kWords.end()) {
    return fail(Errc::bad_input,
                fmt::format("--update: expected one of {}, not '{}'", fmt::join(kWords, ", "), update.word));
  }
  if (update.word == "name" && update.name.empty()) return fail(Errc::bad_input, "--update=name needs --name NAME");
  if (update.word == "uuid" && update.uuid == raid::Uuid{}) {
    return fail(Errc::bad_input, "--update=uuid needs --uuid UUID");
  }
  return {};
}

Task<Status> apply_update(ArraySession& session, const Update& update) {
  const Superblock* fresh = nullptr;
  for (const Disk& disk : session.disks()) {
    if (disk.super && (fresh == nullptr || disk.super->events > fresh->events)) fresh = &*disk.super;
  }
  if (fresh == nullptr) co_return fail(Errc::not_found, session.place().label + ": no image with a superblock");
  std::vector<Written> all;
  for (const Disk& disk : session.disks()) {
    if (!disk.super) continue;
    if (disk.super->set_uuid != fresh->set_uuid) {
      co_return fail(Errc::bad_input, fmt::format("{}: set_uuid {}: a member of another array; nothing was written",
                                                  disk.name, raid::format_uuid(disk.super->set_uuid)));
    }
    if (!is_current(*disk.super, *fresh)) continue;
    auto written = prepare(update, disk);
    if (!written) co_return std::unexpected(written.error());
    all.push_back(std::move(*written));
  }
  for (const Written& written : all) {
    if (Status begun = co_await write_begun(session, update, written); !begun) co_return begun;
  }
  for (const Written& written : all) {
    const Status done = co_await write_block(session, *written.disk, raid::kSuperOffsetSectors, written.block);
    if (!done) co_return done;
  }
  co_return Status{};
}

}  // namespace resilver::tools
