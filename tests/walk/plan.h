// What one round of the walk does: drawn from a seed before anything runs, so that the same seed takes the same steps,
// whatever the processes make of them. A step that cannot be taken when its turn comes is skipped, and says so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/random.h"

namespace resilver::test {

enum class Verb : std::uint8_t {
  // ---- the client ----
  write,        // `b` blocks at block `a`, and waits
  begin_write,  // the same, while the next steps are taken
  begin_load,   // `a` ms of `attach --load`
  end_client,   // waits for what was begun
  read,         // all of the volume
  // ---- processes: who = A, B, C, R (the arbiter), * (all) ----
  kill,
  stop,  // SIGTERM
  freeze,
  thaw,
  start,
  flap,    // frozen and thawed for `a` ms, every `b` ms
  wait,    // `a` ms
  settle,  // until somebody serves, `a` ms at most
  // ---- the operator ----
  status,
  promote,
  force,
  demote,
  ack,  // mode `a`
  verify,
  repair,
  resync,
  resync_full,
  resolve,  // discards `who`
  recover,
  recover_from,
  abort,
  advice,       // what status suggests, unless that gives something up
  grow_volume,  // by `a` MiB; like the next two with everything stopped, and started again
  swap_disks,   // `who` gets the disk of the next node, and the other way round: adopt
  reid,
  // ---- the arbiter's state file, while it is down ----
  keep_state,
  lose_state,
  restore_state,
  damage_state,  // in the manner `a`, at places drawn from `b`
  foreign_state,
  second_arbiter,  // a copy of the state takes over the address; again: the first one comes back
  // ---- a node's image ----
  keep_image,  // also live
  restore_image,
  start_clone,  // a second process of a copy of its image, at other addresses
  stop_clone,
  damage_tail,  // what lies behind the volume, in the manner `a`, at places drawn from `b`
  grow_image,
  cut_image,
  zero_image,
  lose_disk,  // of an array
  fill_disk,  // the file system of its image
  free_disk,
  // ---- the volume's file ----
  other_file,  // `who` gets one that differs in the manner `a`, and is started again
  same_file,
  // ---- for tests of the walk itself ----
  meddle,  // writes into the volume's bytes of `who`'s image, behind the program's back
};

struct Step {
  Verb verb = Verb::wait;
  char who = '-';
  std::uint64_t a = 0, b = 0;
};
std::string text_of(const Step& step);

struct Plan {
  std::uint64_t seed = 0;
  int nodes = 3;
  std::string ack = "durable";
  int detect_ms = 800;
  int min_in_sync = 1;
  char array = '-';       // who has a RAID 1 instead of an image
  char small_disk = '-';  // whose image lies on a file system of its own
  bool ordinary = true;   // crashes only: nothing is restored, damaged or forced
  std::vector<Step> steps;
};
std::string text_of(const Plan& plan);

Plan draw_plan(std::uint64_t seed);

inline constexpr std::uint64_t kWalkBlocks = 2048;  // 8 MiB
inline constexpr const char* kAckNames[] = {"durable", "quorum", "received", "async"};

}  // namespace resilver::test
