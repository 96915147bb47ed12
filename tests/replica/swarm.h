// One seeded schedule of faults against three nodes, an arbiter and two clients that take the volume from each other: crashes,
// power losses, freezes, cut cables and damaged frames, hanging disks, clocks that run up to 10 % wrong, outages of the
// arbiter, restarts, an operator at work, and stories: sequences that no drawing of single faults would bring about.
//
// Whatever the faults, every answer must be legal (VolumeJudge), before every event of the world at most one node serves, the
// one that the arbiter's record names, with a consistent copy, and no node's epoch ever falls. When the faults end, all
// copies become equal and the volume serves.
//
// What may happen to a volume depends on its modes. In those that survive anything (durable, quorum) faults are drawn freely.
// With `received` and `async` a process dies only when all three are in sync and until that is so again nothing else happens:
// they survive the loss of one node's memory.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "async/task_group.h"
#include "tests/replica/cluster.h"
#include "tests/replica/volume_judge.h"

namespace resilver::replica {

class Swarm {
 public:
  explicit Swarm(std::uint64_t seed);

  // Empty when all was well. Once.
  std::string run();

 private:
  enum class Modes : std::uint8_t { durable_and_quorum, received_and_durable, all };
  static constexpr int kClients = 2;
  struct Seat {  // a client's machine, and who sits there
    sim::Node* node = nullptr;
    std::uint64_t started = 0;  // the higher, the later
  };
  struct Traits {
    Modes modes;
    bool impatient;  // the clients give requests up soon
    Cluster::Options options;
  };
  static Traits draw(std::uint64_t seed);
  Swarm(std::uint64_t seed, const Traits& traits);

  // ---- clients (swarm.cc) ----
  void start_client(int seat);
  Task<void> client_main(Env& env);
  Task<void> worker(Env& env, Client& client, std::uint64_t attachment, Random random);
  Task<bool> write(Env& env, Client& client, std::uint64_t attachment, std::size_t block);
  Task<bool> read(Env& env, Client& client, std::uint64_t attachment, std::size_t block);
  bool newer_attachment_than(std::uint64_t attachment);
  bool goes_on(Errc status, std::uint64_t attachment, const char* what);
  void let_in(std::uint64_t attachment);
  bool clients_idle() const;

  void come_to_rest();

  // ---- what must hold before every event ----
  void inspect();
  void inspect_server(int i);

  // ---- faults (swarm_faults.cc) ----
  void one_fault();
  void fault_of_node(int n);
  void fault_of_links();
  void fault_of_arbiter();
  void kill(int n);
  void command(int n);
  void set_clock(sim::Node& node);
  void heal_all();
  bool may_kill() const { return traits_.modes == Modes::durable_and_quorum || (!recovering_ && all_well()); }
  bool may_disturb() const { return traits_.modes == Modes::durable_and_quorum || !recovering_; }
  bool all_well() const;

  // ---- stories (swarm_stories.cc) ----
  void story();
  void isolate_and_return();
  void strand_a_client();
  void lose_clients_and_primary();
  void blackout();
  void one_comes_back();
  void tempt_with_half_a_copy();
  void split_brain();

  // ---- tools ----
  std::vector<std::string> machines() const;
  std::string any_machine() { return machines()[random_.below(machines().size())]; }
  int some_node_but(int not_this);
  void cut(const std::string& from, const std::string& to, bool drop);  // both ways
  void wait(std::uint64_t most_ms) { cluster_.run_for(static_cast<Nanos>(random_.below(most_ms * kMillisecond))); }
  bool bring_up(int seconds);  // everything is healed and in sync; false: not so soon
  void complain(std::string what);

  Traits traits_;
  Random random_;
  VolumeJudge judge_;
  std::array<Seat, kClients> seats_;
  std::uint64_t started_ = 0;
  int promotions_ = 0;  // that the judge knows of
  bool recovering_ = false;
  std::vector<std::pair<std::string, std::string>> cuts_;
  std::string failure_;
  std::uint64_t operations_ = 0;
  bool finish_ = false;
  int served_by_ = -1;
  std::uint64_t served_epoch_ = 0, events_ = 0;
  std::array<std::uint64_t, Cluster::kNodes> epochs_{};
  Cluster cluster_;  // last: what runs in it refers to the members above
};

}  // namespace resilver::replica
