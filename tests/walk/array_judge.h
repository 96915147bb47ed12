// The judge of a round: holds what commands and status say against what docs/arrays.md promises. Each rule stands where it
// is kept.
#pragma once

#include <string>
#include <vector>

#include "tests/walk/array_lab.h"

namespace resilver::test::array_walk {

class Judge {
 public:
  explicit Judge(const Lab& lab) : lab_(lab) {}

  void note(const std::string& what);
  void complain(const std::string& what);
  bool good() const noexcept { return complaints_.empty(); }
  const std::string& complaints() const noexcept { return complaints_; }
  const std::string& story() const noexcept { return story_; }

  // A command that ended, by itself or not.
  void command(const Ran& ran);
  // What status says, in its three forms; `members`: there are images of the array in the folder.
  void status(const Seen& seen, bool members);

 private:
  const Lab& lab_;
  std::string story_, complaints_;
};

}  // namespace resilver::test::array_walk
