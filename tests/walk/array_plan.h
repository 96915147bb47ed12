// What one round of the walk over an array's images does: drawn from a seed before anything runs, so that the same seed
// takes the same steps, whatever the program makes of them. A step that cannot be taken when its turn comes is skipped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace resilver::test::array_walk {

enum class Verb : std::uint8_t {
  // ---- commands; `a` chooses what they are given ----
  import,  // `b` sectors
  export_all,
  export_part,
  rescue,  // export --rescue
  fail,
  remove,
  add,    // in the manner `b`: a new image, one that lies there, one that is too small
  readd,  // a former member that lies there
  replace,
  rebuild,  // slowly if `b`; so assemble, scrub and repair
  scrub,
  repair,
  assemble,
  force,
  examine,
  stop,
  advice,  // what status says is to be done
  beside,  // long work, and other commands beside it
  // ---- what happens to images between commands ----
  move_away,
  put_back,
  lose_journal,  // for good: started without it, and given another
  keep,          // a copy of one
  restore,       // ... takes the place of the image
  swap_names,
  copy_beside,
  cut_image,
  damage_super,   // in the manner `b`
  damage_bitmap,  // of one member, or of all
  damage_data,
  stray,
  split,    // of a mirror: one member is used alone, and before that the others
  foreign,  // another array's member
  tidy,     // what does not belong to the array leaves the folder
  // ---- for tests of the walk itself ----
  meddle,  // writes `b` bytes into all members, behind the program's back
};

// How a command ends early.
enum class Cut : std::uint8_t { none, kill, interrupt };

struct Step {
  Verb verb = Verb::import;
  std::uint64_t a = 0, b = 0;
  Cut cut = Cut::none;
  std::uint32_t after_us = 0;  // its start, or its first write
  bool writing = false;
  bool tried = false;          // with --dry-run first
  std::uint64_t room_kib = 0;  // images may be so long only, as on a full file system; 0: no limit
};
std::string text_of(const Step& step);

struct Plan {
  std::uint64_t seed = 0;
  int level = 5;
  int disks = 4;
  int spares = 0;
  int member_mib = 12;
  int chunk_kib = 64;
  std::string layout;                  // empty: the default
  std::string consistency = "resync";  // resync, bitmap, journal
  std::string folder = "vm";
  bool by_name = false;   // commands are given the images, not the folder
  bool on_files = false;  // made on files that lie there, with a resync
  Step creation;          // how a first try to make it ends early
  std::vector<Step> steps;

  bool has_parity() const { return level >= 4 && level <= 6; }
  // Parity that an interrupted write leaves wrong, so that a lost member cannot be computed.
  bool has_write_hole() const { return has_parity() && consistency != "journal"; }
  int data_disks() const { return level == 6 ? disks - 2 : level == 1 ? 1 : level == 0 ? disks : disks - 1; }
};
std::string text_of(const Plan& plan);

Plan draw_plan(std::uint64_t seed);

}  // namespace resilver::test::array_walk
