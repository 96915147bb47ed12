#include "workload/sector.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace resilver::workload {
namespace {

using Sector = std::array<std::byte, kSectorBytes>;

Sector encoded(const SectorId& id) {
  Sector sector;
  encode_sector(id, sector.data());
  return sector;
}

const SectorId kId{0x1122334455667788, 123456789012, 77, SectorKind::data, 4711};

TEST(Sector, WhatIsEncodedIsRecognised) {
  for (const SectorKind kind : {SectorKind::data, SectorKind::damage}) {
    SectorId id = kId;
    id.kind = kind;
    const auto check = check_sector(encoded(id).data(), id.volume, id.sector);
    EXPECT_EQ(check.state, SectorState::ok);
    EXPECT_EQ(check.id, id);
  }
}

TEST(Sector, RepeatsOneRecordOf64Bytes) {
  const Sector sector = encoded(kId);
  for (std::size_t at = kRecordBytes; at < kSectorBytes; ++at) EXPECT_EQ(sector[at], sector[at % kRecordBytes]);
}

TEST(Sector, LayoutIsAsTheHeaderSays) {
  const Sector sector = encoded(kId);
  EXPECT_EQ(std::memcmp(sector.data(), "rslv", 4), 0);
  std::uint64_t address;
  std::uint32_t version;
  std::memcpy(&address, sector.data() + 16, 8);
  std::memcpy(&version, sector.data() + 24, 4);
  EXPECT_EQ(address, kId.sector);
  EXPECT_EQ(version, kId.version);
}

TEST(Sector, AllZeroIsNeverWritten) {
  Sector sector{};
  EXPECT_EQ(check_sector(sector.data(), 1, 2).state, SectorState::never_written);
  for (const std::size_t at : {0u, 1u, 7u, 8u, 63u, 64u, 300u, 504u, 511u}) {
    sector[at] = std::byte{1};
    EXPECT_EQ(check_sector(sector.data(), 1, 2).state, SectorState::corrupt) << at;
    sector[at] = std::byte{0};
  }
}

TEST(Sector, EveryFlippedBitIsFound) {
  Sector sector = encoded(kId);
  for (std::size_t bit = 0; bit < kSectorBytes * 8; ++bit) {
    sector[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_EQ(check_sector(sector.data(), kId.volume, kId.sector).state, SectorState::corrupt) << bit;
    sector[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(Sector, ABitFlippedInAllCopiesIsFound) {
  Sector sector = encoded(kId);
  for (std::size_t bit = 0; bit < kRecordBytes * 8; ++bit) {
    const auto flip = [&] {
      for (std::size_t at = bit / 8; at < kSectorBytes; at += kRecordBytes) sector[at] ^= std::byte{1} << (bit % 8);
    };
    flip();
    EXPECT_EQ(check_sector(sector.data(), kId.volume, kId.sector).state, SectorState::corrupt) << bit;
    flip();
  }
}

// What a degraded array gives when parity does not match: a sector, and what another one changed by.
TEST(Sector, TheXorOfThreeSoundSectorsIsCorrupt) {
  Sector mixed = encoded(kId);
  for (const std::uint32_t version : {78u, 91u}) {
    const Sector other = encoded({kId.volume, kId.sector + 128, version, SectorKind::data, 4711 + version});
    for (std::size_t i = 0; i < mixed.size(); ++i) mixed[i] ^= other[i];
  }
  EXPECT_EQ(check_sector(mixed.data(), kId.volume, kId.sector).state, SectorState::corrupt);
}

TEST(Sector, ASectorOfAnotherAddressOrVolumeIsMisplaced) {
  const Sector sector = encoded(kId);
  EXPECT_EQ(check_sector(sector.data(), kId.volume, kId.sector + 1).state, SectorState::misplaced);
  EXPECT_EQ(check_sector(sector.data(), kId.volume + 1, kId.sector).state, SectorState::misplaced);
  EXPECT_STREQ(sector_state_name(SectorState::misplaced), "misplaced");
}

}  // namespace
}  // namespace resilver::workload
