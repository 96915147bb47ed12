// What `resilver volume …` and `resilver node` share: the configuration, a ring, what ends a command early, asking nodes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task_group.h"
#include "service/config.h"
#include "service/control.h"
#include "service/view.h"
#include "tools/command.h"
#include "uring/real_env.h"

namespace resilver::tools {

using service::name_of;
using service::view_of;
using service::VolumeView;

// Reads the file that --config names. Nothing, after lines on standard error, if it makes no sense: `code` is the exit code.
enum class NeedsId : std::uint8_t { yes, no };
std::optional<service::VolumeConfig> read_config(const CommandLine& line, int& code, NeedsId id = NeedsId::yes);

// Runs `work` on a ring of its own; gives the exit code that it gives, or prints the line of its error.
using RealWork = std::function<Task<Result<int>>(uring::RealEnv&, uring::StopSignal&)>;
int run_real(const std::string& command, std::size_t arena_bytes, const RealWork& work);
inline constexpr std::size_t kAskArena = std::size_t{4} << 20;    // for questions
inline constexpr std::size_t kDataArena = std::size_t{64} << 20;  // for the volume's data

// A command on a running volume.
class VolumeSession {
 public:
  VolumeSession(uring::RealEnv& env, uring::StopSignal& signal, const service::VolumeConfig& config)
      : env_(env), signal_(signal), config_(config), stirred_(env.scheduler()) {}

  uring::RealEnv& env() noexcept { return env_; }
  Scheduler& scheduler() noexcept { return env_.scheduler(); }
  const service::VolumeConfig& config() const noexcept { return config_; }
  const bool& interrupted() const noexcept { return interrupted_; }
  // Woken by the signal, and by whatever a command waits for.
  Event& stirred() noexcept { return stirred_; }

  // Asks one node, until it has answered, `deadline` has passed or a signal came (cancelled). `meanwhile` is called about
  // five times a second.
  Task<Result<service::Answer>> ask(replica::NodeId node, service::Order order, Nanos deadline,
                                    std::function<Task<void>()> meanwhile = {});
  // The state of one node, or why there is none; of all nodes, asked at the same time, kAskTimeout each.
  Task<Result<service::NodeStatus>> status(replica::NodeId node);
  Task<std::vector<Result<service::NodeStatus>>> statuses();
  // ... as one view, with whether the arbiter answers where no primary can tell.
  Task<VolumeView> view();

  static constexpr Nanos kAskTimeout = kSecond;

 private:
  friend int run_volume(const std::string&, const service::VolumeConfig&,
                        const std::function<Task<Result<int>>(VolumeSession&)>&, std::size_t);
  Task<Result<int>> run(const std::function<Task<Result<int>>(VolumeSession&)>& work);
  Task<void> watch_signal();

  uring::RealEnv& env_;
  uring::StopSignal& signal_;
  const service::VolumeConfig& config_;
  bool interrupted_ = false;
  Event stirred_;
};

using VolumeWork = std::function<Task<Result<int>>(VolumeSession&)>;
int run_volume(const std::string& command, const service::VolumeConfig& config, const VolumeWork& work,
               std::size_t arena_bytes = kAskArena);

// Those that --node names, or the one that this machine is, or all. Errors: bad_input.
Result<std::vector<replica::NodeId>> nodes_of(const CommandLine& line, const service::VolumeConfig& config);
// The id of the node that the user named. Errors: bad_input.
Result<replica::NodeId> node_named(const service::VolumeConfig& config, const std::string& name);
}  // namespace resilver::tools
