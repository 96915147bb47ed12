// Short orderings of what may happen to three nodes, two writes and an arbiter, and what somebody may put back in between:
// the arbiter's state or a copy's image as they were after an earlier step. All orderings up to a length are played, one
// after the other, in virtual time, so that the smallest that breaks a rule is found by itself (search()).
//
// Judged in each, while it runs and when everything has been started again:
// * at most one node serves, and no copy's epoch ever falls;
// * nobody begins to serve without an acknowledged write that a copy which runs has; where nothing was put back, never;
// * in the end the volume is whole and has what was acknowledged, or it asks: each copy that is not in sync carries a reason,
//   and what is not served is still there on a copy, and told. Nothing is overwritten unasked;
// * where nothing was put back, the volume ends whole, and no copy is called one that went back.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/replica/cluster.h"

namespace resilver::replica {

struct Step {
  enum class Kind : std::uint8_t {
    node,      // `node` is killed if it runs, else started
    write,     // the next write, to a block of its own
    record,    // the arbiter stops, gets the state of after step `image` (0: before the first, -1: a new one), starts
    put_back,  // `node` is killed, gets the image that it had after step `image`, starts
    clone,     // a second process starts on such an image of `node`
  };
  Kind kind = Kind::node;
  int node = 0;
  int image = 0;
  bool at_once = false;  // the next step does not wait until things have settled
  bool operator==(const Step&) const = default;
};
using Ordering = std::vector<Step>;

// "B C w A r0 B": B and C are killed, a write, A is killed, the arbiter's state of before the first step, B is started.
// r-: a new state; r0!: at once; B@2: image of after step 2 put back; B+2: that image as a second B.
std::string to_text(const Ordering& ordering);
Ordering ordering_from(const std::string& text);

class Trial {
 public:
  Trial(Ordering steps, AckMode ack);

  // Empty when all was well. Once.
  std::string run();

  // After the last step, before everything is started again.
  bool served() const { return served_; }
  const std::vector<std::uint64_t>& records() const { return records_; }  // the nonces after each step

 private:
  static constexpr int kWrites = 2;
  struct Write {
    bool acknowledged = false;
    bool parted = false;  // somebody serves without it, and could not know better
  };
  static std::uint64_t block(int write) { return 8 + 16 * static_cast<std::uint64_t>(write); }
  static std::uint64_t version(int write) { return 5 + static_cast<std::uint64_t>(write); }

  void play(const Step& step);
  void write();
  void remember();
  void run_for(Nanos time);
  bool run_until(const std::function<bool()>& done, Nanos at_most);
  void inspect();
  void begins_to_serve(int node);
  Replica* replica(int node);
  bool has(int node, int write);
  std::string name(int node) const { return node < Cluster::kNodes ? Cluster::name(node) : "the clone"; }
  void complain(std::string what);

  ReplicaStatus status_of(int node);
  bool whole();
  bool in_sync(int node);
  bool asks(int node);
  std::optional<std::uint64_t> read(std::uint64_t block);
  void come_to_rest();
  void judge_the_end();

  Ordering steps_;
  std::size_t step_ = 0;
  bool restored_ = false, copy_restored_ = false;
  int clone_of_ = -1;
  int served_last_ = -1;
  bool beyond_ = false;  // a clone and no other copy run: nobody can tell
  int written_ = 0;
  std::array<Write, kWrites> writes_;
  std::vector<std::vector<std::byte>> arbiter_images_;
  std::vector<std::array<std::vector<std::byte>, Cluster::kNodes>> images_;  // those that a later step needs
  std::vector<std::uint64_t> records_;
  bool served_ = false;
  std::array<Nanos, Cluster::kNodes + 1> runs_since_{};
  std::array<std::uint64_t, Cluster::kNodes + 1> epochs_{}, reigns_{};
  std::string failure_;
  Cluster cluster_;
};

struct Search {
  AckMode ack = AckMode::durable;
  std::size_t steps = 5;    // at most, without what is put back
  bool records = true;      // the arbiter's state is put back, once at most ...
  bool copies = false;      // ... or a copy's image, or one is cloned
  std::string begin{};      // every ordering begins so; these steps do not count
  unsigned every = 1;       // only each n-th ordering
  double most_seconds = 0;  // 0: no limit
};
struct Found {
  std::uint64_t trials = 0;
  double seconds = 0;
  std::string ordering, complaint;  // empty: none
};
// The shortest first; stops at the first complaint.
Found search(const Search& what);

}  // namespace resilver::replica
