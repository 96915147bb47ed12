// One round over an array's images: takes the steps of a plan, follows what the program says must be done, and asks the
// judge and the model after each step.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tests/walk/array_judge.h"
#include "tests/walk/array_lab.h"
#include "tests/walk/array_model.h"
#include "tests/walk/array_plan.h"

namespace resilver::test::array_walk {

struct Outcome {
  bool good = true;
  std::string complaints;  // one a line
  std::string report;      // plan, steps, status
};

class Walker {
 public:
  explicit Walker(const Plan& plan);

  void begin();
  void take(const Step& step);
  void end();
  Outcome outcome() const;

 private:
  // An image that is not in the folder.
  struct Away {
    std::string path;  // where it is
    std::string name;  // that it had
    std::uint64_t changes = 0;
    bool needed = false;  // the array cannot start without it
  };

  // ---- commands ----
  Ran run(const Words& words, const Step& step = {});
  // Judges it, looks at what it left, and keeps what is known of the array up to date.
  void ended(const Ran& ran);
  void observe();
  // The same with --dry-run: nothing changes, and what would be refused is refused.
  bool would_work(const Words& words);
  // Without room no member is given up, and a degraded array stays clean.
  void judge_room(const Ran& ran, const Seen& before);
  bool note_other_side(const std::string& said);
  bool is_of_copies(const std::string& said) const;
  // A command that had to be taken: nothing that the walk did explains a refusal.
  void must_work(const Ran& ran);
  bool may_be_refused(const Ran& ran) const;
  Words slow(Words words, const Step& step) const;

  // ---- steps ----
  bool take_command(const Step& step);
  bool take_work(const Step& step);
  bool take_mishap(const Step& step);
  void import(const Step& step);
  void import_version(std::uint32_t version, Range range, const Step& step);
  bool export_part(Range range, bool settle = false);
  void export_of(Words words, Range range, bool settle);
  bool export_all() { return export_part({0, model_.sectors()}); }
  bool rescue();
  bool change_member(const char* command, const Step& step);
  bool add(const Step& step);
  bool readd(const Step& step);
  bool force(const Step& step);
  bool follow_advice();
  bool work_beside(const Step& step);

  // ---- mishaps ----
  bool move_away(const Step& step);
  bool put_back();
  bool lose_journal(const Step& step);
  bool keep(const Step& step);
  bool restore();
  bool swap_names(const Step& step);
  bool damage_super(const Step& step);
  bool damage_bitmap(const Step& step);
  bool damage_data(const Step& step);
  bool cut_image(const Step& step);
  bool stray(const Step& step);
  bool tidy();
  bool split(const Step& step);
  bool meddle(const Step& step);
  bool may_lose_one() const;
  bool is_last_of_its_side(const std::string& name) const;
  void lost_one();
  void now_in_trouble(const std::string& name);
  void to_attic(const std::string& name, bool needed);

  // ---- the end ----
  bool bring_back();
  bool cure(const Ran& refused);
  void judge_rest();

  std::string member(std::uint64_t which, bool in_sync = false) const;  // a name; empty: there is none
  std::string lying_about(std::uint64_t which) const;                   // an image that is no member now

  const Plan plan_;
  Lab lab_;
  Judge judge_;
  Model model_;
  Seen seen_;
  bool made_ = false;

  // What the walk has done to it, and so what may be refused.
  std::uint64_t changes_ = 0;      // by the program, to any image that lay there
  std::set<std::string> trouble_;  // images in the folder that do not fit
  std::string copied_;             // the member that a stray image is a copy of
  std::vector<Away> attic_, kept_;
  std::vector<Range> under_way_;  // writes that were cut short, and no resync since
  bool dirty_ = false;            // some writer was cut short, and no resync since
  bool hole_ = false;             // a member was lost while parity was not right
  int new_images_ = 0;
};

Outcome walk(const Plan& plan);

}  // namespace resilver::test::array_walk
