// What a superblock says of the array's shape, and where mdadm puts things on a member.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <string_view>

#include "base/endian.h"
#include "raid/superblock.h"

namespace resilver::raid {

Result<Geometry> geometry_of(const Superblock& superblock) {
  const std::uint64_t chunk = std::uint64_t{superblock.chunk_sectors} * kSectorBytes;
  const bool any_sector = superblock.level == Level::raid1 || (superblock.level == Level::linear && chunk == 0);
  const std::uint64_t unit = any_sector ? 1 : superblock.chunk_sectors;
  const std::uint64_t sectors = is_redundant(superblock.level) ? superblock.size_sectors : superblock.data_size_sectors;
  if (sectors > kMaxCapacity / kSectorBytes || unit == 0) {
    return fail(Errc::invalid_argument, fmt::format("{} sectors per member in chunks of {}", sectors, unit));
  }
  // md, too, uses whole chunks only and leaves the rest of a member unused.
  return Geometry::make(superblock.level, superblock.layout, superblock.raid_disks, chunk,
                        sectors / unit * unit * kSectorBytes);
}

Result<Geometry> geometry_of_zoned(const Superblock& superblock, std::span<const std::uint64_t> data_size_sectors) {
  std::vector<std::uint64_t> bytes;
  for (std::uint64_t sectors : data_size_sectors) {
    if (sectors > kMaxCapacity / kSectorBytes) {
      return fail(Errc::invalid_argument, fmt::format("data_size of {} sectors is too large", sectors));
    }
    bytes.push_back(sectors * kSectorBytes);
  }
  const bool untold = superblock.level == Level::raid0 && (superblock.feature_map & kFeatureRaid0Layout) == 0;
  const Layout layout = untold && superblock.layout == Layout::none ? Layout::raid0_original : superblock.layout;
  auto geometry =
      Geometry::make_zoned(superblock.level, layout, std::uint64_t{superblock.chunk_sectors} * kSectorBytes, bytes);
  if (geometry && geometry->has_zones() && untold) {
    return fail(
        Errc::unsupported,
        "superblock: layout of a raid0 with unequal members is not told (feature_map lacks raid0-layout, 0x1000); "
        "resilver assemble --update=layout-original or layout-alternate says which it is");
  }
  return geometry;
}

std::uint64_t bitmap_space_sectors(std::uint64_t device_sectors) noexcept {
  constexpr std::uint64_t kGibSectors = 2 * 1024 * 1024;
  if (device_sectors < 128) return 0;
  if (device_sectors - 128 >= 200 * kGibSectors) return 256;
  if (device_sectors - 8 > 8 * kGibSectors) return 128;
  return 8;
}

std::uint64_t choose_data_offset(std::uint64_t device_sectors, std::uint32_t chunk_sectors) noexcept {
  constexpr std::uint64_t kOneMib = 2048;
  const std::uint64_t chunk_kib = chunk_sectors / 2;
  std::uint64_t headroom = 128 * kOneMib;
  while (headroom * 1024 > device_sectors && headroom > 1 && (chunk_sectors == 0 || headroom / 2 >= chunk_kib * 4)) {
    headroom /= 2;
  }
  const std::uint64_t offset = 24 + bitmap_space_sectors(device_sectors) + headroom;
  return (offset + kOneMib - 1) / kOneMib * kOneMib;
}

std::int32_t choose_bad_block_offset(Level level, std::uint64_t device_sectors, std::uint64_t bitmap_bytes) noexcept {
  constexpr std::int32_t kBehindSuperblock = kSuperblockBytes / kSectorBytes;
  if (!is_redundant(level)) return kBehindSuperblock;
  const std::uint64_t bitmap = bitmap_bytes != 0 ? bitmap_bytes / kSectorBytes : bitmap_space_sectors(device_sectors);
  return kBehindSuperblock + static_cast<std::int32_t>(bitmap);
}

bool place_bad_block_log(Superblock& superblock, std::uint64_t device_sectors, std::uint64_t bitmap_end) noexcept {
  constexpr std::uint64_t kLog = kBadBlockLogBytes / kSectorBytes;
  const std::uint64_t room = superblock.data_offset_sectors - kSuperOffsetSectors;
  const bool fits = room >= bitmap_end + kLog;
  const auto wished = static_cast<std::uint64_t>(choose_bad_block_offset(superblock.level, device_sectors, 0));
  superblock.bblog_offset = fits ? static_cast<std::int32_t>(std::clamp(wished, bitmap_end, room - kLog)) : 0;
  superblock.bblog_size_sectors = fits ? kLog : 0;
  return fits;
}

const char* name(MetadataVersion version) noexcept {
  switch (version) {
    case MetadataVersion::v0_90: return "0.90";
    case MetadataVersion::v1_0: return "1.0";
    case MetadataVersion::v1_1: return "1.1";
    case MetadataVersion::v1_2: return "1.2";
  }
  return "unknown";
}

std::array<MetadataPlace, 3> other_metadata(std::uint64_t device_sectors) noexcept {
  return {{{MetadataVersion::v0_90, device_sectors / 128 * 128 - 128},
           {MetadataVersion::v1_0, (device_sectors - 16) / 8 * 8},
           {MetadataVersion::v1_1, 0}}};
}

bool holds_metadata(std::span<const std::byte, 512> sector, const MetadataPlace& place) noexcept {
  const auto magic = load_le<std::uint32_t>(sector.data());
  const auto major = load_le<std::uint32_t>(sector.data() + 4);
  if (place.version == MetadataVersion::v0_90) {
    return (magic == kSuperblockMagic || magic == std::byteswap(kSuperblockMagic)) && major == 0;
  }
  if (magic != kSuperblockMagic) return false;
  return major == 1 && load_le<std::uint64_t>(sector.data() + 144) == place.sector;  // super_offset
}

std::string format_uuid(const Uuid& uuid) {
  std::string text;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i != 0 && i % 4 == 0) text += ':';
    text += fmt::format("{:02x}", uuid[i]);
  }
  return text;
}

Result<Uuid> parse_uuid(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  Uuid uuid{};
  std::size_t digits = 0;
  for (const char letter : text) {
    if (std::string_view(":.- ").contains(letter)) continue;
    const std::size_t value = kDigits.find(static_cast<char>(std::tolower(static_cast<unsigned char>(letter))));
    if (value == std::string_view::npos || digits == 2 * uuid.size()) {
      digits = 0;
      break;
    }
    uuid[digits / 2] = static_cast<std::uint8_t>(uuid[digits / 2] << 4 | value);
    ++digits;
  }
  if (digits == 2 * uuid.size()) return uuid;
  return fail(Errc::bad_input,
              fmt::format("expected 32 hex digits, such as 01234567:89abcdef:01234567:89abcdef, not '{}'", text));
}

}  // namespace resilver::raid
