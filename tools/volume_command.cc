#include "tools/volume_command.h"

#include <fmt/format.h>
#include <cstdio>

namespace resilver::tools {
namespace {

constexpr Nanos kMeanwhile = 200 * kMillisecond;

// What an order to a node is called while it runs.
struct Asking {
  Result<service::Answer> answer = fail(Errc::cancelled, "interrupted");
  bool ended = false;
};

Task<void> keep_answer(service::Question& question, service::Order order, Nanos deadline, Asking& asking,
                       Event& stirred) {
  asking.answer = co_await question.ask(order, deadline);
  asking.ended = true;
  stirred.wake_all();
}

Task<void> keep_status(VolumeSession& session, replica::NodeId id, Result<service::NodeStatus>& status) {
  status = co_await session.status(id);
}

}  // namespace

std::optional<service::VolumeConfig> read_config(const CommandLine& line, int& code, NeedsId id) {
  if (!line.has("config")) {
    code = refuse_usage(line.command, "expected --config FILE");
    return std::nullopt;
  }
  auto config = service::load_volume(line.text("config"));
  if (config && (id == NeedsId::no || !config->id.none())) return std::move(*config);
  if (config) {
    fmt::print(stderr, "{}\n", service::missing_id(*config));
    code = kBadUsage;
    return std::nullopt;
  }
  for (const auto& diagnostic : config.error()) fmt::print(stderr, "{}\n", scenario::to_string(diagnostic));
  code = kBadUsage;
  return std::nullopt;
}

int run_real(const std::string& command, std::size_t arena_bytes, const RealWork& work) {
  uring::RealOptions options;
  options.arena_bytes = arena_bytes;
  options.ring.tell_slower = false;
  auto env = uring::RealEnv::create(options);
  if (!env) return refuse(command, env.error());
  auto signal = uring::StopSignal::create((*env)->ring());
  if (!signal) return refuse(command, signal.error());
  const Result<int> done = (*env)->ring().run(work(**env, **signal));
  if (done) return *done;
  const int code = refuse(command, done.error());
  return done.error().code == Errc::cancelled ? kInterrupted : code;
}

Task<Result<service::Answer>> VolumeSession::ask(replica::NodeId node, service::Order order, Nanos deadline,
                                                 std::function<Task<void>()> meanwhile) {
  order.volume = config_.id;
  service::Question question(env_, config_.nodes[node].control);
  Asking asking;
  TaskGroup group(scheduler());
  group.spawn(keep_answer(question, order, deadline, asking, stirred_));
  while (!asking.ended && !interrupted_) {
    co_await stirred_.wait_until(scheduler().now() + kMeanwhile);
    if (meanwhile && !asking.ended && !interrupted_) co_await meanwhile();
  }
  if (!asking.ended) question.give_up();
  co_await group.join();
  co_return std::move(asking.answer);
}

Task<Result<service::NodeStatus>> VolumeSession::status(replica::NodeId node) {
  service::Order order;
  order.volume = config_.id;
  service::Question question(env_, config_.nodes[node].control);
  auto answer = co_await question.ask(order, scheduler().now() + kAskTimeout);
  if (!answer) co_return std::unexpected(answer.error());
  if (!answer->status) co_return fail(Errc::bad_input, config_.nodes[node].control + ": an answer without a state");
  if (answer->status->node != config_.nodes[node].name) {
    co_return fail(Errc::bad_input, fmt::format("{}: node {} is there, by another configuration",
                                                config_.nodes[node].control, answer->status->node));
  }
  co_return std::move(*answer->status);
}

Task<std::vector<Result<service::NodeStatus>>> VolumeSession::statuses() {
  std::vector<Result<service::NodeStatus>> all(config_.nodes.size(), fail(Errc::timeout));
  TaskGroup group(scheduler());
  for (replica::NodeId id = 0; id < all.size(); ++id) group.spawn(keep_status(*this, id, all[id]));
  co_await group.join();
  co_return all;
}

Task<VolumeView> VolumeSession::view() {
  VolumeView view = view_of(co_await statuses());
  if (config_.arbiter.empty() || view.has_primary() || interrupted_) co_return view;
  view.arbiter = (co_await env_.network().connect(config_.arbiter, scheduler().now() + kAskTimeout)).has_value();
  co_return view;
}

Task<void> VolumeSession::watch_signal() {
  if (co_await signal_.wait() == 0) co_return;
  interrupted_ = true;
  stirred_.wake_all();
}

Task<Result<int>> VolumeSession::run(const VolumeWork& work) {
  TaskGroup group(scheduler());
  group.spawn(watch_signal());
  Result<int> done = co_await work(*this);
  signal_.close();
  co_await group.join();
  co_return done;
}

int run_volume(const std::string& command, const service::VolumeConfig& config, const VolumeWork& work,
               std::size_t arena_bytes) {
  return run_real(command, arena_bytes, [&](uring::RealEnv& env, uring::StopSignal& signal) -> Task<Result<int>> {
    VolumeSession session(env, signal, config);
    co_return co_await session.run(work);
  });
}

Result<std::vector<replica::NodeId>> nodes_of(const CommandLine& line, const service::VolumeConfig& config) {
  std::vector<replica::NodeId> nodes;
  if (line.has("node")) {
    for (const std::string& name : line.options.at("node")) {
      const auto id = node_named(config, name);
      if (!id) return std::unexpected(id.error());
      nodes.push_back(*id);
    }
  } else if (config.self) {
    nodes.push_back(*config.self);
  } else {
    for (replica::NodeId id = 0; id < config.nodes.size(); ++id) nodes.push_back(id);
  }
  return nodes;
}

Result<replica::NodeId> node_named(const service::VolumeConfig& config, const std::string& name) {
  const auto id = service::find_node(config, name);
  if (id) return *id;
  return fail(Errc::bad_input,
              fmt::format("no node '{}' in {}: expected {}", name, config.file, service::node_names(config)));
}

}  // namespace resilver::tools
