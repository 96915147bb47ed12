// The place of one round: a folder with the volume's file, images and the arbiter's state, the program's own processes on
// loopback addresses of this round, and their logs. It does what it is told and notes what ends by itself; it judges
// nothing.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/support/program.h"
#include "tests/walk/contents.h"
#include "tests/walk/disks.h"
#include "tests/walk/plan.h"
#include "tests/walk/status.h"

namespace resilver::test {

using Words = std::vector<std::string>;

inline constexpr char kArbiter = 'R';
inline constexpr char kClone = 'Q';
inline constexpr std::uint64_t kArrayDiskBytes = 24 << 20;

// How a command ended.
struct Ran {
  std::string line;  // as on a command line
  Ended ended;
  double seconds = 0;
  bool interrupted = false;  // it took too long: SIGINT
  bool hung = false;         // that did not help either
  bool good() const { return ended.code == 0; }
};

class Lab {
 public:
  explicit Lab(const Plan& plan);
  ~Lab();

  double now() const;  // seconds since the round began
  const std::vector<char>& nodes() const noexcept { return nodes_; }
  bool is_node(char who) const;
  std::string path(const std::string& name) const { return folder_ / name; }
  const std::string& folder() const noexcept { return folder_.path(); }

  // ---- the volume's file -------------------------------------------------------------------------------------------
  std::string config() const { return path("web.toml"); }
  void give_other_file(char who, std::uint64_t manner);  // from its next start on
  void give_same_file(char who) { other_files_.erase(who); }
  bool has_other_file(char who) const { return other_files_.contains(who); }

  // ---- processes ---------------------------------------------------------------------------------------------------
  void start(char who);  // not if it runs
  bool running(char who) const;
  bool frozen(char who) const { return frozen_.contains(who); }
  void kill(char who);
  // SIGTERM, and waits. False: it does not end, or not as it should.
  bool stop(char who);
  void freeze(char who);
  void thaw(char who);
  void start_clone(char of);
  void start_second_arbiter();  // on a copy of the state, where the first one listened; again: the other way round

  // A process that ended though nobody ended it.
  struct Death {
    char who;
    Ended ended;
    bool had_served;  // else it refused to start
  };
  std::vector<Death> deaths();
  // Why it refused to start; empty: it did not.
  std::string refusal(char who) const;
  // Waits until it serves, or has ended.
  void await_start(char who, double seconds);
  std::string log_of(char who) const;
  // Nodes whose log says that they are the primary, or have been since they were so often.
  std::map<char, std::size_t> promotions() const;
  bool says_primary(char who) const;

  // ---- commands ----------------------------------------------------------------------------------------------------
  // `resilver WORDS…`, at most for so long.
  Ran run(const Words& words, double limit = 30) const;
  // `resilver volume VERB … --config FILE`
  Ran volume(Words words, double limit = 30) const;
  Words volume_words(Words words) const;
  std::unique_ptr<Program> begin(const Words& words) const { return std::make_unique<Program>(words); }
  // Waits for what was begun; as run().
  Ran await(Program& program, const Words& words, double limit) const;
  VolumeStatus status() const;

  // ---- files -------------------------------------------------------------------------------------------------------
  std::string image(char who) const;  // "" over an array
  std::string state() const;
  bool on_array(char who) const { return who == plan_.array; }
  std::uint64_t volume_bytes() const;  // as the file says now
  // The volume's bytes on its image, as far as the round judges them.
  CopyImage copy_of(char who) const;
  std::vector<CopyImage> copies() const;
  std::vector<CopyImage> copies_but(char who) const;
  SmallFileSystem* small_disk() const { return small_disk_.get(); }
  bool make_foreign_state();  // of another volume; once
  void swap_images(char one, char other);
  bool lose_disk(char who);  // one of its array; false: it is lost already

 private:
  std::string address(int port) const;
  std::string text_of_file(const std::vector<char>& order) const;
  Words words_for(char who) const;
  void note_end(char who);
  const std::string& file_of(char who) const;

  const Plan& plan_;
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  Directory folder_;
  const unsigned number_;  // of the round in this process
  std::vector<char> nodes_;
  std::string file_;
  std::map<char, std::string> other_files_;
  std::unique_ptr<SmallFileSystem> small_disk_;
  std::map<char, std::unique_ptr<Program>> programs_;
  std::set<char> frozen_;
  std::map<char, std::string> logs_, refusals_;
  bool second_arbiter_ = false;
};

}  // namespace resilver::test
