// The machines of a contender in the real world: one process per node, one for the arbiter, image files in a work directory,
// and a proxy on the runner's ring for every link. All of it on loopback, none of it needs root.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task_group.h"
#include "scenario/child.h"
#include "scenario/fleet.h"
#include "uring/proxy.h"
#include "uring/real_env.h"

namespace resilver::scenario {

struct RealFleetOptions {
  std::string work_dir;  // exists; the fleet makes its files in it
  bool keep = false;     // leave images and logs where they are
};

class RealFleet final : public Fleet {
 public:
  RealFleet(uring::RealEnv& env, const Scenario& scenario, const ContenderSpec& contender, RealFleetOptions options);
  ~RealFleet() override;  // precondition: destroy() was awaited

  Env& client() noexcept override { return env_; }
  Id128 volume() const noexcept override { return volume_; }
  Task<Status> create() override;
  Task<void> destroy() override;
  Task<Status> start(std::uint32_t node) override;
  Task<Status> crash(std::uint32_t node) override;
  Task<Status> power_loss(std::uint32_t node) override;
  Task<Status> freeze(std::uint32_t node) override;
  Task<Status> thaw(std::uint32_t node) override;
  bool running(std::uint32_t node) const noexcept override;
  std::vector<std::string> deaths() const override { return deaths_; }
  Status set_clock_rate(std::uint32_t node, std::int32_t ppm) override;
  Task<Status> stop_arbiter() override;
  Task<Status> freeze_arbiter(bool frozen) override;
  Task<Status> start_arbiter() override;
  Task<Result<NodeReport>> report(std::uint32_t node) override;
  Task<Status> command(std::uint32_t node, NodeCommand command) override;
  Task<Status> replace_disk(std::uint32_t node, std::uint32_t disk) override;
  Status set_link(LinkEnd from, LinkEnd to, const LinkFault& fault) override;
  void reset_link(LinkEnd one, LinkEnd other) override;
  std::uint64_t link_transfers(LinkEnd from, LinkEnd to) const noexcept override;
  std::vector<PeerAddress> client_addresses() const override;

  // Bytes of images that this contender needs at most.
  static std::uint64_t image_bytes(const Scenario& scenario, const ContenderSpec& contender);

 private:
  struct Machine {
    std::unique_ptr<Child> child;
    std::unique_ptr<Connection> control;
    std::unique_ptr<Mutex> asking;  // one question at a time on the control connection
    std::vector<NodeDisk> disks;
    std::vector<std::string> faults;
    std::string listen;
    bool frozen = false;
    std::uint32_t replaced = 0;
  };
  // The wire that `from` dials `to` through; answers travel back on it.
  struct Link {
    LinkEnd from;
    LinkEnd to;
    std::unique_ptr<uring::Proxy> proxy;
    LinkParameters parameters;
  };

  Status make_image(const std::string& file, std::uint64_t size);
  Task<Status> wait_until_listening(std::uint32_t node);
  Status make_link(LinkEnd from, LinkEnd to, const LinkSpec& spec);
  Status make_links();
  Status make_arbiter();
  Link* find_link(const LinkEnd& from, const LinkEnd& to) noexcept;
  NodeConfig config_of(std::uint32_t node) const;
  Task<Result<std::string>> ask(std::uint32_t node, char kind, std::string text);
  Task<void> end_child(const std::string& who, std::unique_ptr<Child>& child, int signal_number);
  void note_death(const std::string& who, Child& child);
  std::string node_name(std::uint32_t node) const { return "node " + contender_.nodes[node].name; }
  std::string path(const std::string& name) const { return options_.work_dir + "/" + name; }
  void apply_link(Link& link, uring::Direction direction, const LinkFault& fault);

  uring::RealEnv& env_;
  const Scenario& scenario_;
  const ContenderSpec& contender_;
  RealFleetOptions options_;
  DiskParameters model_;
  bool withhold_writes_ = false;
  bool formatted_ = false;
  std::vector<Machine> machines_;
  std::unique_ptr<Child> arbiter_;
  std::vector<Link> links_;
  std::vector<std::string> files_;  // to remove
  std::vector<std::string> deaths_;
  const Id128 volume_;  // unlike that of any other run
  TaskGroup proxies_;
};

}  // namespace resilver::scenario
