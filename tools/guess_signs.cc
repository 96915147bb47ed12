#include "tools/guess_signs.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/crc32c.h"
#include "base/endian.h"

namespace resilver::tools {
namespace {

using Bytes = std::span<const std::byte>;

std::uint16_t le16(Bytes bytes, std::size_t at) { return load_le<std::uint16_t>(bytes.data() + at); }
std::uint32_t le32(Bytes bytes, std::size_t at) { return load_le<std::uint32_t>(bytes.data() + at); }
std::uint64_t le64(Bytes bytes, std::size_t at) { return load_le<std::uint64_t>(bytes.data() + at); }
std::uint32_t be32(Bytes bytes, std::size_t at) { return __builtin_bswap32(le32(bytes, at)); }
std::uint64_t be64(Bytes bytes, std::size_t at) { return __builtin_bswap64(le64(bytes, at)); }
bool same(Bytes bytes, std::size_t at, std::string_view text) {
  return std::memcmp(bytes.data() + at, text.data(), text.size()) == 0;
}
Verdict verdict(bool right) { return right ? Verdict::right : Verdict::wrong; }

// Spread over all, if there are more than are asked for.
void thin(std::vector<Sign>& signs) {
  if (signs.size() <= kMaxSigns) return;
  std::vector<Sign> kept;
  for (std::size_t i = 0; i < kMaxSigns; ++i) kept.push_back(std::move(signs[i * signs.size() / kMaxSigns]));
  signs = std::move(kept);
}

// ---- ext2, 3 and 4 (https://docs.kernel.org/filesystems/ext4) -------------------------------------------------------------

constexpr std::size_t kExtSuper = 1024;
constexpr std::uint64_t kMaxGroups = 1 << 16;

struct Ext {
  explicit Ext(Bytes super)
      : block(1024u << std::min<std::uint32_t>(le32(super, 24), 16)),
        blocks(le32(super, 4)),
        first_block(le32(super, 20)),
        group_blocks(le32(super, 32)),
        group_inodes(le32(super, 40)),
        inode_bytes(le32(super, 76) == 0 ? 128 : le16(super, 88)),
        checked((le32(super, 100) & 0x400) != 0),
        sparse((le32(super, 100) & 1) != 0),
        descriptor((le32(super, 96) & 0x80) != 0 ? le16(super, 254) : 32) {
    if ((le32(super, 96) & 0x80) != 0) blocks |= std::uint64_t{le32(super, 0x150)} << 32;
    std::memcpy(uuid.data(), super.data() + 104, uuid.size());
    seed = (le32(super, 96) & 0x2000) != 0 ? le32(super, 0x270) : crc(uuid, ~std::uint32_t{0});
  }
  // The kernel's crc32c: neither the seed nor the result is inverted.
  static std::uint32_t crc(Bytes bytes, std::uint32_t seed) { return ~crc32c(bytes, ~seed); }

  bool plausible() const {
    return block <= 65536 && blocks > 0 && group_blocks > 0 && group_blocks <= block * 8 && group_inodes > 0 &&
           inode_bytes >= 128 && inode_bytes <= block && descriptor >= 32 && descriptor <= 1024;
  }
  std::uint64_t groups() const {
    return std::min(kMaxGroups, (blocks - first_block + group_blocks - 1) / group_blocks);
  }
  std::uint64_t group_at(std::uint64_t group) const { return (first_block + group * group_blocks) * block; }
  bool has_backup(std::uint64_t group) const {
    if (!sparse || group <= 1) return true;
    for (const std::uint64_t base : {3, 5, 7}) {
      std::uint64_t power = base;
      while (power < group) power *= base;
      if (power == group) return true;
    }
    return false;
  }

  std::uint64_t block, blocks, first_block, group_blocks, group_inodes, inode_bytes;
  bool checked, sparse;
  std::uint64_t descriptor;
  std::array<std::byte, 16> uuid{};
  std::uint32_t seed = 0;
};

Sign ext_backup(const Ext& ext, std::uint64_t group) {
  const std::uint64_t at = ext.group_at(group) + (group == 0 && ext.block > 1024 ? kExtSuper : 0);
  return {at, 1024, [uuid = ext.uuid, group](Bytes bytes) {
            return verdict(le16(bytes, 56) == 0xef53 && le16(bytes, 90) == static_cast<std::uint16_t>(group) &&
                           std::memcmp(bytes.data() + 104, uuid.data(), uuid.size()) == 0);
          }};
}

// A block of an inode table: every inode in it that is used has its checksum, over its number too.
Sign ext_inodes(const Ext& ext, std::uint64_t at, std::uint64_t first_inode) {
  const std::size_t bytes = std::min<std::size_t>(ext.block, 4096);
  return {at, bytes, [seed = ext.seed, size = ext.inode_bytes, first_inode](Bytes block) {
            Verdict found = Verdict::silent;
            for (std::size_t skip = 0; skip + size <= block.size(); skip += size) {
              std::vector<std::byte> inode(block.begin() + static_cast<std::ptrdiff_t>(skip),
                                           block.begin() + static_cast<std::ptrdiff_t>(skip + size));
              if (std::ranges::all_of(inode, [](std::byte byte) { return byte == std::byte{0}; })) continue;
              const bool wide = size > 128 && le16(inode, 128) >= 4;
              const std::uint32_t stored = le16(inode, 0x7c) | (wide ? std::uint32_t{le16(inode, 0x82)} << 16 : 0);
              std::memset(inode.data() + 0x7c, 0, 2);
              if (wide) std::memset(inode.data() + 0x82, 0, 2);
              const auto number = static_cast<std::uint32_t>(first_inode + skip / size);
              std::uint32_t sum = Ext::crc(std::as_bytes(std::span(&number, 1)), seed);
              sum = Ext::crc(Bytes(inode).subspan(0x64, 4), sum);
              sum = Ext::crc(inode, sum);
              if ((wide ? sum : sum & 0xffff) != stored) return Verdict::wrong;
              found = Verdict::right;
            }
            return found;
          }};
}

void add_inode_tables(const Ext& ext, Bytes beginning, std::vector<Sign>& signs) {
  constexpr std::uint64_t kBlocksOfTable = 64;
  const std::uint64_t table = (ext.first_block + 1) * ext.block;
  for (std::uint64_t group = 0; group < ext.groups(); ++group) {
    const std::uint64_t at = table + group * ext.descriptor;
    if (at + ext.descriptor > beginning.size()) break;
    const Bytes descriptor = beginning.subspan(at, ext.descriptor);
    std::uint64_t inodes = le32(descriptor, 8);
    std::uint64_t unused = le16(descriptor, 0x1c);
    if (ext.descriptor >= 64) inodes |= std::uint64_t{le32(descriptor, 0x28)} << 32;
    if (ext.descriptor >= 64) unused |= std::uint64_t{le16(descriptor, 0x32)} << 16;
    const bool empty = (le16(descriptor, 0x12) & 1) != 0 || unused >= ext.group_inodes;
    if (empty || inodes == 0 || inodes >= ext.blocks) continue;
    const std::uint64_t unit = std::min<std::uint64_t>(ext.block, 4096);
    const std::uint64_t used = (ext.group_inodes - unused) * ext.inode_bytes;
    for (std::uint64_t i = 0; i < kBlocksOfTable && i * unit < used; ++i) {
      signs.push_back(
          ext_inodes(ext, inodes * ext.block + i * unit, group * ext.group_inodes + 1 + i * unit / ext.inode_bytes));
    }
  }
}

Signs ext_signs(Bytes beginning) {
  const Bytes super = beginning.subspan(kExtSuper, 1024);
  const Ext ext(super);
  if (le16(super, 56) != 0xef53 || le16(super, 90) != 0 || !ext.plausible()) return {};
  Signs found{"ext4", ext.blocks * ext.block, {}};
  for (std::uint64_t group = 0; group < ext.groups(); ++group) {
    if (ext.has_backup(group)) found.signs.push_back(ext_backup(ext, group));
  }
  if (ext.checked) add_inode_tables(ext, beginning, found.signs);
  return found;
}

// ---- xfs: the headers of every allocation group (xfs_format.h) ------------------------------------------------------------

Signs xfs_signs(Bytes beginning) {
  if (!same(beginning, 0, "XFSB")) return {};
  const std::uint64_t block = be32(beginning, 4);
  const std::uint64_t group_blocks = be32(beginning, 84);
  const std::uint64_t groups = be32(beginning, 88);
  const std::uint64_t sector =
      (std::uint64_t{std::to_integer<unsigned>(beginning[102])} << 8) | std::to_integer<unsigned>(beginning[103]);
  if (block < 512 || block > 65536 || group_blocks == 0 || groups == 0 || groups > (1 << 20)) return {};
  if (sector < 512 || sector > 4096) return {};
  Signs found{"xfs", be64(beginning, 8) * block, {}};
  std::array<std::byte, 16> uuid;
  std::memcpy(uuid.data(), beginning.data() + 32, uuid.size());
  for (std::uint64_t group = 0; group < groups; ++group) {
    const std::uint64_t at = group * group_blocks * block;
    found.signs.push_back({at, 512, [uuid](Bytes bytes) {
                             return verdict(same(bytes, 0, "XFSB") &&
                                            std::memcmp(bytes.data() + 32, uuid.data(), uuid.size()) == 0);
                           }});
    for (const auto& [skip, magic] : {std::pair{sector, "XAGF"}, std::pair{2 * sector, "XAGI"}}) {
      found.signs.push_back({at + skip, 512, [group, text = std::string(magic)](Bytes bytes) {
                               return verdict(same(bytes, 0, text) && be32(bytes, 8) == group);
                             }});
    }
  }
  return found;
}

// ---- a GPT: its copy at the end, and what the partitions hold -------------------------------------------------------------

Signs gpt_signs(Bytes beginning) {
  constexpr std::size_t kSector = 512;
  if (beginning.size() < 2 * kSector + 4 * 128 || !same(beginning, kSector, "EFI PART")) return {};
  const Bytes header = beginning.subspan(kSector, kSector);
  const std::uint64_t backup = le64(header, 32);
  if (backup == 0 || backup >= std::uint64_t{1} << 50 || le32(header, 84) != 128) return {};
  Signs found{"gpt", (backup + 1) * kSector, {}};
  std::array<std::byte, 16> guid;
  std::memcpy(guid.data(), header.data() + 56, guid.size());
  found.signs.push_back({backup * kSector, kSector, [guid, backup](Bytes bytes) {
                           return verdict(same(bytes, 0, "EFI PART") && le64(bytes, 24) == backup &&
                                          std::memcmp(bytes.data() + 56, guid.data(), guid.size()) == 0);
                         }});
  for (std::size_t at = 1024; at + 128 <= std::min<std::size_t>(beginning.size(), 1024 + 128 * 128); at += 128) {
    const std::uint64_t first = le64(beginning, at + 32) * kSector;
    if (first == 0 || first % 4096 != 0 || first + 4096 > beginning.size()) continue;
    Signs inner = signs_of(beginning.subspan(first));
    for (Sign& sign : inner.signs) {
      sign.at += first;
      found.signs.push_back(std::move(sign));
    }
  }
  return found;
}

}  // namespace

Signs signs_of(std::span<const std::byte> beginning) {
  if (beginning.size() < 4096) return {};
  for (const auto look : {xfs_signs, ext_signs, gpt_signs}) {
    Signs found = look(beginning);
    if (found.what.empty()) continue;
    thin(found.signs);
    return found;
  }
  return {};
}

}  // namespace resilver::tools
