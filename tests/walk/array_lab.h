// The place of one round: a folder of images, an attic for those that are away, and the program's commands on them. It does
// what it is told and looks; it judges nothing.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "tests/support/program.h"
#include "tests/walk/array_plan.h"

namespace resilver::test::array_walk {

using Words = std::vector<std::string>;

inline constexpr int kPatienceSeconds = 60;

// How a command ended.
struct Ran {
  std::string command;  // "import"
  std::string line;     // all of it
  Ended ended;
  bool cut = false;          // by a signal of ours, before its end
  bool changed = false;      // some image was written, made, or removed
  bool changed_old = false;  // ... that was there before
  bool hung = false;
  bool cramped = false;  // it had a limit of room
  bool good() const { return ended.code == 0; }
};

struct Member {
  std::string name;  // empty: missing
  int slot = -1;
  std::string state;
  bool operator==(const Member&) const = default;
};

// What the three forms of `status` say.
struct Seen {
  Ended text, json, test;
  bool told = false;     // there is JSON
  bool changed = false;  // looking wrote to an image
  std::string state;     // clean, active, degraded, failed
  std::string slots;     // "UU_"
  std::string next;      // "to do: ..."
  bool clean = false;    // no resync is due
  bool lacks_journal = false;
  int redundancy_left = 0;
  std::uint64_t size = 0;
  std::vector<Member> members;

  bool same_as(const Seen& other) const {
    return std::tie(state, slots, next, clean, members) ==
           std::tie(other.state, other.slots, other.next, other.clean, other.members);
  }
  bool runs() const { return told && state != "failed"; }
  bool lacks() const { return slots.find('_') != std::string::npos; }
  bool whole() const { return runs() && !lacks() && next.empty() && clean; }
};

class Lab {
 public:
  explicit Lab(const Plan& plan);

  double now() const;
  std::string folder() const { return root_ / plan_.folder; }
  std::string file(const std::string& name) const { return folder() + "/" + name; }
  std::string beside(const std::string& name) const { return root_ / name; }

  // ---- commands ----------------------------------------------------------------------------------------------------
  // COMMAND, the array (its folder, or all images by name), and what follows.
  Words on_array(const std::string& command, const Words& more = {}) const;
  // `resilver WORDS...`; it gets a signal when the step says so, if it still runs.
  Ran run(const Words& words, const Step& step = {}) const;
  // A line that the program told somebody to type, in a shell.
  Ran type(const std::string& line) const;
  // The other forms than JSON are asked for only if it differs from `before`.
  Seen look(const Seen& before) const;

  // ---- images ------------------------------------------------------------------------------------------------------
  std::vector<std::string> images() const;  // names in the folder
  bool exists(const std::string& name) const;
  using Stamp = std::tuple<ino_t, off_t, std::int64_t>;
  using Stamps = std::map<std::string, Stamp>;
  Stamps stamps() const;
  // What has become of the images since, in `changed` and `changed_old`.
  void note_changes(Ran& ran, const Stamps& before) const;
  // The images' stamps and what they hold.
  std::string digest() const;
  // A name that no file in the folder has: stem0.img, ...
  std::string free_name(const std::string& stem) const;
  // Where a member's data begin and how long they are, of its superblock; nothing: it has none.
  std::optional<std::pair<std::uint64_t, std::uint64_t>> data_of(const std::string& name) const;
  void overwrite(const std::string& name, std::uint64_t at, const std::string& bytes) const;
  // A member of another array; made at the first call.
  std::string foreign_member() const;

 private:
  const Plan& plan_;
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  Directory root_;
};

}  // namespace resilver::test::array_walk
