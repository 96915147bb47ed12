// What a file or block device holds before it becomes a member: asked of libblkid.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace resilver::tools {

// "an ext4 file system labelled 'home'", "a gpt partition table", "a member of an md array"; nothing if it holds nothing
// that libblkid knows. Reads only. Errors: io.
Result<std::optional<std::string>> what_it_holds(const std::string& path);

// The numbers of the partitions in which an md superblock (1.2) lies. Empty: none, or no partition table.
std::vector<int> member_partitions(const std::string& path);

// A sparse (or empty) file that nothing was ever written to, as a fresh image is.
bool is_blank(const std::string& path);
// Left by a create or add that was killed: blank, or with nothing but what they write before the superblock.
bool is_unfinished(const std::string& path);

// Begin and size, in bytes, of a partition of this file. Errors: not_found (no partition table, or no such partition), io.
Result<std::pair<std::uint64_t, std::uint64_t>> partition_at(const std::string& path, int number);

// Erases the signatures that what_it_holds() goes by, so that nothing takes the member for what it was. Errors: io.
Status erase_signatures(const std::string& path);

}  // namespace resilver::tools
