// The images and block devices that a command of persistent arrays is given: finding them, opening and locking them,
// reading what their superblocks say. Nothing here writes.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "async/task.h"
#include "base/error.h"
#include "raid/array.h"
#include "raid/superblock.h"
#include "tools/array_overlay.h"
#include "uring/image.h"
#include "uring/real_env.h"

namespace resilver::tools {

// What the user named: one folder, or the images themselves.
struct Place {
  std::string label;                 // what to call the array: the folder's name, or the first image's
  std::string folder;                // empty if the images were named
  std::vector<std::string> paths;    // of images and block devices, in order
  std::vector<std::string> ignored;  // files of the folder that are no images
};

// FILE:NUMBER is a partition in an image (array_partition.h). A folder gives its files named *.img and those that hold an md
// superblock, in order of their numbers. Errors: not_found, bad_input (a folder among several words, an image twice, a
// folder without images).
Result<Place> find_place(const std::vector<std::string>& words);

// "disk1", "disk1.img", "DIR/disk1.img" or a path: the one of `paths` that is meant.
std::optional<std::size_t> find_path(const std::vector<std::string>& paths, const std::string& word);

// How messages call each path: the last part if no two are the same, else the path.
std::vector<std::string> short_names(const std::vector<std::string>& paths);

// A word as a POSIX shell reads it back: quoted if it must be.
std::string shell_word(const std::string& word);

// The place as words of a command line, for hints that can be pasted.
std::string place_words(const Place& place);

inline constexpr Nanos kReadPatience = 30 * kSecond;  // for a superblock: as long as an array waits for a member

struct Disk {
  std::string path;
  std::string name;
  std::unique_ptr<BlockDevice> image;  // a file, a block device or a partition; null: it cannot be opened, `super` says why
  std::unique_ptr<Overlay> overlay;                        // over the image in a dry run
  Result<raid::Superblock> super = fail(Errc::not_found);  // as it was when the disk was opened
  std::array<std::byte, raid::kSuperblockBytes> block{};   // the same as it lies there
  std::string holds;  // for messages, if it has no superblock but something else: "; it holds a file system: ext4"
  BlockDevice& device() const noexcept { return overlay ? static_cast<BlockDevice&>(*overlay) : *image; }
  bool stray = false;  // no superblock, and no member that lost it either: never written, or it holds something else
};

// Opens and locks every path and reads its superblock. One that cannot be opened is a disk without image and superblock.
// Errors: busy (another process has one of them open), limit.
Task<Result<std::vector<Disk>>> open_disks(uring::RealEnv& env, std::vector<std::string> paths, uring::Access access);

// The superblock of this array whose roles decide; null: none of these disks has one.
const raid::Superblock* freshest(const std::vector<Disk>& disks, const raid::Uuid& set_uuid);

// For a dry run: what is written to these disks from now on stays in memory. They may have been opened to be read only.
void lay_over(Scheduler& scheduler, std::vector<Disk>& disks);

// In place of an image that a dry run does not make: one of this size in memory, as a path of this process.
Result<std::string> make_stand_in(std::uint64_t bytes);

// For whoever needs all of them. Errors: the first disk's that could not be opened.
Status check_opened(const std::vector<Disk>& disks);

// The other processes that hold a flock on one of these files, by /proc/locks.
std::set<pid_t> holders_of(const std::vector<std::string>& paths);

// As it is given in /proc; empty: it has ended. Its locks may outlive it, while the kernel still ends the writes of its ring:
// some 66 ms, on a busy machine more than a second.
std::string name_of_process(pid_t pid);
bool has_ended(pid_t pid);
inline constexpr Nanos kEndedPatience = 30 * kSecond;  // for its locks

// Does another process maintain the array on these files (uring::Access::maintain)? By /proc/locks.
bool is_maintained(const std::vector<std::string>& paths);

// As the array is given them: those that could be opened.
std::vector<raid::MemberDisk> member_disks(const std::vector<Disk>& disks);

}  // namespace resilver::tools
