#include "tools/array_update.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "raid/bitmap_format.h"
#include "raid/discovery.h"

namespace resilver::tools {
namespace {

using raid::Superblock;

constexpr std::uint32_t kBlockSectors = kBlockBytes / kSectorBytes;
constexpr std::array<std::string_view, 11> kWords = {
    "resync", "name",      "uuid",       "no-bbl",          "force-no-bbl",    "bbl",
    "bitmap", "no-bitmap", "devicesize", "layout-original", "layout-alternate"};

bool belongs(raid::DiskVerdict verdict) {
  using enum raid::DiskVerdict;
  return verdict == member || verdict == rebuilding || verdict == replacement || verdict == spare || verdict == journal;
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

Status add_log(Superblock& super, std::uint64_t device_sectors) {
  if (super.has_bad_block_log()) return {};
  if ((super.feature_map & raid::kFeatureBitmap) != 0) {
    return fail(Errc::bad_input, "the bitmap may reach to where a log would lie: no-bitmap, bbl, bitmap, one by one");
  }
  super.bblog_shift = 0;
  if (raid::place_bad_block_log(super, device_sectors, kBlockSectors)) return {};
  return fail(Errc::bad_input, "there is no room for a log before the data");
}

Status add_bitmap(Superblock& super) {
  if ((super.feature_map & raid::kFeatureBitmap) != 0) return {};
  if (!is_redundant(super.level)) {
    return fail(Errc::bad_input, fmt::format("{} has no redundancy to keep", name(super.level)));
  }
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
  if (word == "resync" && is_redundant(super.level)) super.resync_offset_sectors = 0;
  if (word == "no-bitmap") super.feature_map &= ~(raid::kFeatureBitmap | raid::kFeatureRecoveryBitmap);
  if (word == "devicesize") super.data_size_sectors = device_sectors - super.data_offset_sectors;
  if (word == "no-bbl" || word == "force-no-bbl") return drop_log(super, word == "force-no-bbl");
  if (word == "layout-original") return choose_layout(super, raid::Layout::raid0_original);
  if (word == "layout-alternate") return choose_layout(super, raid::Layout::raid0_alternate);
  // Only members, and spares when they become members, have the two.
  if (word == "bbl" && !super.is_journal()) return add_log(super, device_sectors);
  if (word == "bitmap" && is_member(super)) return add_bitmap(super);
  return {};
}

struct Written {
  const Disk* disk;
  std::array<std::byte, raid::kSuperblockBytes> block;
};

Result<Written> prepare(const Update& update, const Disk& disk) {
  Superblock super = *disk.super;
  const auto refused = [&disk, &update](const std::string& why) {
    return fail(Errc::bad_input, fmt::format("{}: --update={}: {}; nothing was written", disk.name, update.word, why));
  };
  const Status done = change(update, super, disk.image->size_bytes() / kSectorBytes);
  if (!done) return refused(done.error().what);
  const auto block = raid::writable_superblock(super, disk.image->size_bytes());
  if (!block) return refused(block.error().what);
  return Written{&disk, *block};
}

// What new structures begin with is there before a superblock names it: an empty log; no bitmap, of which the start makes a
// new one, for whose state the superblock answers.
Task<Status> write_begun(ArraySession& session, const Update& update, const Written& written) {
  const auto super = raid::decode_superblock(written.block, written.disk->image->size_bytes() / kSectorBytes);
  if (update.word == "bbl" && super->has_bad_block_log()) {
    const auto empty = raid::encode_bad_blocks({});
    const auto at = raid::kSuperOffsetSectors + static_cast<std::uint64_t>(super->bblog_offset);
    co_return co_await session.write_block(*written.disk, at, *empty);
  }
  if (update.word == "bitmap" && is_member(*super)) {
    const auto at = raid::kSuperOffsetSectors + static_cast<std::uint64_t>(super->bitmap_offset);
    co_return co_await session.write_block(*written.disk, at, {});
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
  std::vector<const Disk*> disks;
  std::vector<raid::GivenDisk> given;
  for (const Disk& disk : session.disks()) {
    if (!disk.super) continue;
    disks.push_back(&disk);
    given.push_back({{disk.name, &disk.device()}, disk.super});
  }
  if (given.empty()) co_return fail(Errc::not_found, session.place().label + ": no image with a superblock");
  raid::AssemblyReport report;
  if (const auto lineup = raid::line_up(given, false, report); !lineup) {
    co_return fail(lineup.error().code, lineup.error().what + "; nothing was written");
  }
  std::vector<Written> all;
  for (std::size_t i = 0; i < disks.size(); ++i) {
    if (!belongs(report[i].verdict)) continue;
    auto written = prepare(update, *disks[i]);
    if (!written) co_return std::unexpected(written.error());
    all.push_back(std::move(*written));
  }
  for (const Written& written : all) {
    if (Status begun = co_await write_begun(session, update, written); !begun) co_return begun;
  }
  for (const Written& written : all) {
    const Status done = co_await session.write_block(*written.disk, raid::kSuperOffsetSectors, written.block);
    if (!done) co_return done;
  }
  co_return Status{};
}

}  // namespace resilver::tools
