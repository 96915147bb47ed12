// One seeded schedule of what operators, backups and environments do to a volume: the arbiter's state put back, lost, exchanged
// for another volume's or damaged in a block; a copy's image put back or replaced by a new disk, a block of its metadata
// damaged; files that differ; storage that is full or slow; links that flap; an arbiter that is away while nodes restart;
// crashes, losses of power and cut cables in between. (The faults that a volume survives unseen are swarm.h's.)
//
// Such things may make a volume stop and ask, and what only a copy has that somebody threw away is gone. Judged:
// * before every event at most one node serves, and no copy's epoch falls;
// * every answer is legal: what was acknowledged, or a later write; unless it parted (below);
// * nobody begins to serve without an acknowledged write that a copy has which runs and can be asked. If none does, nobody
//   could know: then that write has parted, and must in the end still be there and be told, or served;
// * in the end all is whole, or each copy that is not in sync carries a reason and somebody must choose. Where neither a
//   record nor an image was put back: whole, and no copy was called one that went back.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "tests/replica/cluster.h"

namespace resilver::replica {

class Mishaps {
 public:
  explicit Mishaps(std::uint64_t seed);

  // Empty when all was well. Once.
  std::string run();

 private:
  enum class Kind : std::uint8_t {
    record_put_back,
    record_lost,
    record_of_another,
    record_damaged,
    image_put_back,
    new_disk,
    metadata_damaged,
    files_differ,
    full,
    slow,
    flapping,
    arbiter_away,
  };
  static constexpr std::uint64_t kKinds = 12;
  static constexpr std::size_t kBlocks = 24;
  struct Block {
    std::uint64_t begun = 0, acknowledged = 0;
    bool writing = false;
    std::uint64_t parted = 0;  // the highest version that somebody serves without
  };
  struct Image {
    std::vector<std::byte> bytes;
    std::uint64_t mark = 0;
    Nanos at = 0;
  };

  // ---- the client ----
  void start_client();
  Task<void> client_main(Env& env);
  Task<void> worker(Env& env, Client& client, Random random, std::uint64_t number);
  static std::uint64_t address(std::size_t block) { return block < 6 ? block : block * 40; }

  // ---- what happens ----
  void one_fault();
  void ordinary();
  void mishap(Kind kind);
  void stop_arbiter();
  void exchange_record();
  void put_record_back();
  void last_one_forgotten();
  void put_image_back(int n);
  void damage_metadata(int n);
  void flap();
  void take_images();
  void kill(int n);
  void destroyed(int n);  // what only its copy had is gone
  void cut(int a, int b, bool drop);
  void heal_all();
  void wait(std::uint64_t least_ms, std::uint64_t most_ms) {
    cluster_.run_for(static_cast<Nanos>(random_.between(least_ms, most_ms)) * kMillisecond);
  }
  int any_node() { return static_cast<int>(random_.below(Cluster::kNodes)); }

  // ---- what must hold ----
  void inspect();
  void begins_to_serve(int node);
  std::uint64_t lowest(const sim::Disk& disk, std::size_t block) const;  // version of its sectors
  bool whole();
  bool somebody_must_choose();
  bool tells(int node);
  void come_to_rest();
  void judge_the_end();
  void complain(std::string what);

  Random random_;
  std::vector<Kind> kinds_;
  bool may_ask_ = false;      // a record or an image was put back
  bool may_go_back_ = false;  // an image was
  std::array<Block, kBlocks> blocks_;
  std::uint64_t partings_ = 0;
  std::vector<std::vector<std::byte>> records_;
  std::array<Image, Cluster::kNodes> images_;
  std::array<Nanos, Cluster::kNodes> runs_since_{};
  std::array<std::uint64_t, Cluster::kNodes> epochs_{}, reigns_{};
  Nanos cut_until_ = 0;
  std::vector<std::pair<int, int>> cuts_;
  std::vector<std::string> story_;
  std::string failure_;
  bool finish_ = false;
  std::uint64_t answers_ = 0;
  Cluster cluster_;
};

}  // namespace resilver::replica
