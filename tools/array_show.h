// What `examine` and `status` show, as text and as JSON. Pure functions of disks that were opened and arrays that were started.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/array_session.h"

namespace resilver::tools {

struct BitmapSummary {
  std::uint32_t chunk_bytes = 0;
  std::uint64_t bits = 0;
  std::uint64_t set_bits = 0;
  std::uint64_t set_pages = 0;  // of 4096 bytes, with a bit set
};

// ---- one superblock; disk.super holds one ----
std::string examine_text(const Disk& disk);                // as mdadm --examine
std::string role_text(const raid::Superblock& super);      // "Active device 2", "spare", "Journal"
std::string array_letters(const raid::Superblock& super);  // "AA.R"
std::string checksum_of(const Disk& disk);
std::string state_of(const raid::Superblock& super);  // "clean", "active"
std::uint64_t array_bytes(const raid::Superblock& super);

// The arrays that these disks are of, one line for each, as mdadm --examine --scan has it. verbose: and a line of their disks.
std::string scan_text(const std::vector<Disk>& disks, bool verbose);

// ---- an array ----
const raid::Superblock* freshest_superblock(const ArraySession& session);               // null: none
bool is_dirty(const ArraySession& session);                                             // a resync is due
Task<std::optional<BitmapSummary>> read_bitmap(ArraySession& session);                  // nothing: the array has none
Task<std::optional<BitmapSummary>> read_bitmap(uring::RealEnv& env, const Disk& disk);  // nothing: it has none
std::string time_text(std::uint64_t md_time);                                           // "Mon Nov 30 17:00:00 2026"
std::string bitmap_text(const BitmapSummary& bitmap);
// As /proc/mdstat.
std::string mdstat_text(const ArraySession& session, const raid::Array& array,
                        const std::optional<BitmapSummary>& bitmap);

// ---- JSON ----
std::string examine_json(const std::vector<Disk>& disks);
std::string status_json(const ArraySession& session, const raid::Array& array,
                        const std::optional<BitmapSummary>& bitmap);
std::string failed_json(const ArraySession& session, const std::string& why);

}  // namespace resilver::tools
