// The judge of a round: holds what the processes do and say against what they promise, and notes what is wrong. Each rule
// stands where it is kept (judge.cc).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/walk/contents.h"
#include "tests/walk/lab.h"

namespace resilver::test {

// What happened, in order, and what is wrong with it.
class Journal {
 public:
  explicit Journal(const Lab& lab) : lab_(lab) {}

  void note(const std::string& what);
  void complain(const std::string& what);
  bool good() const noexcept { return complaints_.empty(); }
  const std::vector<std::string>& complaints() const noexcept { return complaints_; }
  std::string text() const;

 private:
  const Lab& lab_;
  std::vector<std::string> lines_, complaints_;
};

// Writes that a client was given, and who may have taken them.
struct Writing {
  std::size_t first = 0;  // block
  std::vector<BlockHash> blocks;
  std::map<char, CopyImage> before;
  std::map<char, std::size_t> promotions;  // before
  std::vector<char> primaries;             // before
};

class Judge {
 public:
  Judge(const Plan& plan, Lab& lab, Journal& journal);

  // ---- what was done -----------------------------------------------------------------------------------------------
  void failed(char who);  // a process was ended, stopped, …
  void soft_mode() noexcept { soft_ = true; }
  // Something was restored, damaged or forced: from here on the codes of such acts may be told ...
  void not_innocent() noexcept { innocent_ = false; }
  // ... and an older content be served.
  void may_be_outdated() noexcept { innocent_ = false, outdated_ = true; }
  void destroyed();  // bytes of an image, by our own hand
  void kept(char who) { kept_at_[who] = lab_.now(); }
  void put_back(char who);  // its image is the one that was kept
  void cloned(char who) { clone_of_ = who; }
  void give_up(const std::vector<char>& whose);

  // ---- what came of it ---------------------------------------------------------------------------------------------
  Writing about_to_write(std::size_t first, std::vector<BlockHash> blocks) const;
  void wrote(const Writing& writing, bool acknowledged);
  void forget_all();
  void loaded(const Ran& ran);  // `attach --load --json`
  void exported(const std::string& bytes);
  void command(const Ran& ran);
  void verified(const Ran& ran);
  void deaths();
  void status(const VolumeStatus& status);
  // Stands still, and is not whole: somebody must be told why and what helps.
  void stuck(const VolumeStatus& status);
  void images();     // what must be kept is on some image
  void all_equal();  // of copies in sync, at rest
  void nothing_left();

  bool innocent() const noexcept { return innocent_; }
  bool firm() const noexcept { return !soft_; }
  // A reason that tells of something that was mended, or that nothing can be done about.
  static bool bearable(const std::string& code);
  // Serves writes, all copies in sync, and nothing is to be done.
  bool whole(const VolumeStatus& status) const;

 private:
  std::vector<BlockHash> held_before(const Writing& writing, std::size_t block) const;

  Lab& lab_;
  Journal& journal_;
  Contents contents_{kWalkBlocks};
  std::map<char, double> ended_at_, kept_at_;
  bool soft_ = false;
  bool innocent_ = true;
  bool outdated_ = false;
  bool put_back_ = false;  // to a moment that no mark had told of
  char clone_of_ = '-';
};

}  // namespace resilver::test
