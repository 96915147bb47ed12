// `resilver volume promote`, `demote`, `ack`, `resync`, `resolve`: orders to one node, and waiting until they are carried out.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/units.h"
#include "tools/array_progress.h"
#include "tools/commands.h"
#include "tools/volume_command.h"

namespace resilver::tools {
namespace {

using replica::NodeId;
using service::Order;
using service::Verb;

constexpr Nanos kPoll = 100 * kMillisecond;
constexpr Nanos kForceTimeout = 15 * kSecond;  // a grace and the arbiter's answer are waited for
constexpr Nanos kAnswerMargin = 2 * kSecond;   // beyond what the node itself waits
constexpr const char* kNoPrimary = "no node is the primary now; see resilver volume status";

constexpr OptionSpec kTimeout = {"timeout", "TIME", "how long to wait", "10s"};
Result<Nanos> timeout_of(const CommandLine& line) {
  const auto timeout = parse_duration(line.text("timeout"));
  if (!timeout) return fail(Errc::bad_input, "--timeout: " + timeout.error().what);
  if (*timeout < kMillisecond || *timeout > 10 * kMinute)
    return fail(Errc::bad_input, "--timeout: 1ms to 10min expected");
  return *timeout;
}

// Waits until `enough` says so. Errors: timeout with `what`, cancelled.
Task<Status> wait_until(VolumeSession& session, Nanos deadline, std::string what,
                        std::function<bool(const VolumeView&)> enough) {
  for (;;) {
    const VolumeView view = view_of(co_await session.statuses());
    if (session.interrupted()) co_return fail(Errc::cancelled, "interrupted");
    if (enough(view)) co_return Status{};
    if (session.scheduler().now() >= deadline) co_return fail(Errc::timeout, std::move(what));
    co_await session.stirred().wait_until(session.scheduler().now() + kPoll);
  }
}

// ---- promote -------------------------------------------------------------------------------------------------------

Task<Result<int>> promote(VolumeSession& session, NodeId node, bool force, Nanos timeout) {
  const std::string& name = session.config().nodes[node].name;
  Order order;
  order.verb = Verb::promote;
  order.force = force;
  order.timeout_ms = static_cast<std::uint64_t>(timeout / kMillisecond);
  const Nanos patience = force ? std::max(timeout, kForceTimeout) : timeout;
  const Nanos deadline = session.scheduler().now() + patience + kAnswerMargin;
  if (force) {
    fmt::print(stderr,
               "resilver volume promote: by force: writes that only other copies have are lost with them, or stay a "
               "split brain when these come back\n");
  }
  const auto answer = co_await session.ask(node, order, deadline);
  if (!answer) {
    const bool no_primary = !force && answer.error().code == Errc::not_primary;
    co_return fail(answer.error().code,
                   fmt::format("{}: {}{}", name, answer.error().what,
                               no_primary ? "; if every copy in sync is gone for good: --force" : ""));
  }
  Status serves = co_await wait_until(
      session, deadline, name + " is the primary but does not serve yet",
      [node](const VolumeView& view) { return view.nodes[node] && view.nodes[node]->replica.serving; });
  if (!serves) co_return std::unexpected(serves.error());
  fmt::print("{} is the primary now\n", name);
  co_return kDone;
}

// ---- demote --------------------------------------------------------------------------------------------------------

Task<Result<int>> demote(VolumeSession& session, Nanos timeout) {
  const VolumeView view = view_of(co_await session.statuses());
  if (!view.has_primary()) co_return fail(Errc::unavailable, kNoPrimary);
  const NodeId former = *view.authority;
  Order order;
  order.verb = Verb::demote;
  order.timeout_ms = static_cast<std::uint64_t>(timeout / kMillisecond);
  const Nanos deadline = session.scheduler().now() + timeout + kAnswerMargin;
  const auto answer = co_await session.ask(former, order, deadline);
  const std::string& name = session.config().nodes[former].name;
  if (!answer) co_return fail(answer.error().code, fmt::format("{}: {}", name, answer.error().what));
  NodeId now = replica::kNoNode;
  const Status serves = co_await wait_until(session, deadline, name + " handed over, and nobody serves yet",
                                            [&now, former](const VolumeView& seen) {
                                              if (!seen.has_primary() || !seen.word()->serving) return false;
                                              now = *seen.authority;
                                              return now != former;
                                            });
  if (!serves) co_return std::unexpected(serves.error());
  fmt::print("{} handed over; {} is the primary now\n", name, session.config().nodes[now].name);
  co_return kDone;
}

// ---- ack -----------------------------------------------------------------------------------------------------------

std::optional<replica::AckMode> ack_named(const std::string& word) {
  for (std::uint8_t i = 0; i < replica::kAckModeCount; ++i) {
    const auto mode = static_cast<replica::AckMode>(i);
    if (word == replica::ack_mode_name(mode)) return mode;
  }
  return std::nullopt;
}

Task<Result<int>> change_ack(VolumeSession& session, replica::AckMode mode, Nanos timeout) {
  const VolumeView view = view_of(co_await session.statuses());
  if (!view.has_primary()) co_return fail(Errc::unavailable, kNoPrimary);
  Order order;
  order.verb = Verb::set_ack;
  order.ack = mode;
  order.timeout_ms = static_cast<std::uint64_t>(timeout / kMillisecond);
  const auto answer = co_await session.ask(*view.authority, order, session.scheduler().now() + timeout + kAnswerMargin);
  const std::string& name = session.config().nodes[*view.authority].name;
  if (!answer) co_return fail(answer.error().code, fmt::format("{}: {}", name, answer.error().what));
  fmt::print("{}: ack {} now\n", session.config().name, replica::ack_mode_name(mode));
  co_return kDone;
}

// ---- resync --------------------------------------------------------------------------------------------------------

Task<Result<int>> resync(VolumeSession& session, NodeId node, bool full) {
  const std::string& name = session.config().nodes[node].name;
  Order order;
  order.verb = Verb::resync;
  order.full = full;
  const auto answer = co_await session.ask(node, order, session.scheduler().now() + 10 * kSecond);
  if (!answer) co_return fail(answer.error().code, fmt::format("{}: {}", name, answer.error().what));
  ProgressLine line(session.config().name, "resync");
  const Rate rate(session.scheduler().now());
  // It counts as in sync for a moment more: until its session has ended and the primary has taken it out.
  const auto in_sync = [&](const VolumeView& view) {
    const replica::PeerStatus* peer = view.peer(node);
    if (peer != nullptr && peer->resyncing) {
      line.show(peer->resync_done_bytes, peer->resync_total_bytes,
                rate.of(peer->resync_done_bytes, session.scheduler().now()));
    }
    const bool whole = view.nodes[node] && !view.nodes[node]->replica.inconsistent &&
                       view.nodes[node]->replica.role == replica::Role::secondary;
    return whole && view.has_primary() && view.word()->in_sync.contains(node) && peer != nullptr && !peer->resyncing;
  };
  const Status done = co_await wait_until(session, kNever, "", in_sync);
  line.end();
  if (!done) co_return fail(done.error().code, "interrupted; the copy goes on: see resilver volume status");
  fmt::print("{} is in sync\n", name);
  co_return kDone;
}

// ---- resolve -------------------------------------------------------------------------------------------------------

// The order to the primary: it discards its own side, or that of a peer.
Result<Order> resolution(const service::VolumeConfig& config, const VolumeView& view, NodeId discard) {
  if (!view.has_primary()) return fail(Errc::unavailable, kNoPrimary);
  const NodeId primary = *view.authority;
  Order order;
  order.verb = Verb::resolve;
  order.discard_local = discard == primary;
  std::vector<NodeId> diverged;
  for (const replica::PeerStatus& peer : view.word()->peers) {
    if (peer.diverged && peer.id < config.nodes.size()) diverged.push_back(peer.id);
  }
  if (diverged.empty()) {
    return fail(Errc::invalid_argument, fmt::format("there is no split brain with {}", config.nodes[primary].name));
  }
  if (!order.discard_local && std::ranges::find(diverged, discard) == diverged.end()) {
    return fail(Errc::invalid_argument, fmt::format("{} has no writes of its own; {} has", config.nodes[discard].name,
                                                    config.nodes[diverged.front()].name));
  }
  if (order.discard_local && diverged.size() > 1) {
    return fail(Errc::invalid_argument,
                fmt::format("several sides have writes of their own: discard all but one of {} first",
                            service::node_names(config)));
  }
  order.peer = order.discard_local ? diverged.front() : discard;
  return order;
}

Task<Result<int>> resolve(VolumeSession& session, NodeId discard) {
  const VolumeView view = view_of(co_await session.statuses());
  const auto order = resolution(session.config(), view, discard);
  if (!order) co_return std::unexpected(order.error());
  const auto answer = co_await session.ask(*view.authority, *order, session.scheduler().now() + 30 * kSecond);
  const std::string& name = session.config().nodes[discard].name;
  if (!answer) {
    co_return fail(answer.error().code,
                   fmt::format("{}: {}", session.config().nodes[*view.authority].name, answer.error().what));
  }
  fmt::print("what {} wrote on its own is given up; it is brought up to date now\n", name);
  co_return kDone;
}

// ---- command lines -------------------------------------------------------------------------------------------------

// The one node that the words name.
std::optional<NodeId> read_node(const CommandLine& line, const service::VolumeConfig& config, int& code) {
  if (line.words.size() != 1) {
    code = refuse_usage(line.command, fmt::format("expected one node: {}", service::node_names(config)));
    return std::nullopt;
  }
  const auto node = node_named(config, line.words[0]);
  if (node) return *node;
  code = refuse_usage(line.command, node.error().what);
  return std::nullopt;
}

int run_promote(const CommandLine& line) {
  int code = kDone;
  const auto timeout = timeout_of(line);
  if (!timeout) return refuse_usage(line.command, timeout.error().what);
  const auto config = read_config(line, code);
  if (!config) return code;
  const auto node = read_node(line, *config, code);
  if (!node) return code;
  const bool force = line.has("force");
  return run_volume(line.command, *config,
                    [&](VolumeSession& session) { return promote(session, *node, force, *timeout); });
}

int run_demote(const CommandLine& line) {
  int code = kDone;
  const auto timeout = timeout_of(line);
  if (!timeout) return refuse_usage(line.command, timeout.error().what);
  const auto config = read_config(line, code);
  if (!config) return code;
  return run_volume(line.command, *config, [&](VolumeSession& session) { return demote(session, *timeout); });
}

int run_ack(const CommandLine& line) {
  int code = kDone;
  const auto timeout = timeout_of(line);
  if (!timeout) return refuse_usage(line.command, timeout.error().what);
  const auto mode = line.words.size() == 1 ? ack_named(line.words[0]) : std::nullopt;
  if (!mode) return refuse_usage(line.command, "expected one of async, received, durable, quorum");
  const auto config = read_config(line, code);
  if (!config) return code;
  if (config->nodes.size() == 1) {
    return refuse(line.command,
                  {Errc::invalid_argument, "the volume has one node: a write is acknowledged when durable"});
  }
  return run_volume(line.command, *config, [&](VolumeSession& session) { return change_ack(session, *mode, *timeout); });
}

int run_resync(const CommandLine& line) {
  int code = kDone;
  const auto config = read_config(line, code);
  if (!config) return code;
  const auto node = read_node(line, *config, code);
  if (!node) return code;
  const bool full = line.has("full");
  return run_volume(line.command, *config, [&](VolumeSession& session) { return resync(session, *node, full); });
}

int run_resolve(const CommandLine& line) {
  int code = kDone;
  if (!line.has("discard")) return refuse_usage(line.command, "expected --discard NODE");
  const auto config = read_config(line, code);
  if (!config) return code;
  const auto node = node_named(*config, line.text("discard"));
  if (!node) return refuse_usage(line.command, node.error().what);
  return run_volume(line.command, *config, [&](VolumeSession& session) { return resolve(session, *node); });
}

}  // namespace

constexpr CommandSpec kVolumePromoteCommand = {
    .name = "volume promote",
    .meaning = "make a node the primary",
    .words = "NODE",
    .usage = "NODE --config FILE [--force] [--timeout TIME]",
    .description =
        "Makes a copy that is in sync the primary, without a failed request. --force is the last resort when the "
        "copies in sync "
        "are gone for good: what only they have is lost, and if one of them comes back with writes of its own, there "
        "is a split "
        "brain.",
    .options = {kConfigOption,
                {"force", nullptr,
                 "whatever the other copies hold: may lose acknowledged writes, may make a split brain"},
                kTimeout},
    .examples = {"resilver volume promote B --config web.toml", "resilver volume promote B --config web.toml --force"},
    .exits = {{0, "done"}, {1, "refused or failed"}, {2, "bad usage or configuration"}, cli::kInterruptedExit},
    .run = run_promote,
};

constexpr CommandSpec kVolumeDemoteCommand = {
    .name = "volume demote",
    .meaning = "let the primary hand over",
    .usage = "--config FILE [--timeout TIME]",
    .description = "The primary hands over to another copy that is in sync, without a failed request.",
    .options = {kConfigOption, kTimeout},
    .examples = {"resilver volume demote --config web.toml"},
    .exits = {{0, "done"}, {1, "refused or failed"}, {2, "bad usage or configuration"}, cli::kInterruptedExit},
    .run = run_demote,
};

constexpr CommandSpec kVolumeAckCommand = {
    .name = "volume ack",
    .meaning = "change when a write is acknowledged",
    .words = "async|received|durable|quorum",
    .usage = "MODE --config FILE [--timeout TIME]",
    .description =
        "Changes when a write is acknowledged, from the next epoch on, without a failed request: async (durable on the "
        "primary), "
        "received (in the memory of all in sync), durable (durable on all in sync), quorum (durable on most of the "
        "nodes). "
        "docs/replication.md tells what each may lose.",
    .options = {kConfigOption, kTimeout},
    .examples = {"resilver volume ack quorum --config web.toml"},
    .exits = {{0, "done"}, {1, "refused or failed"}, {2, "bad usage or configuration"}, cli::kInterruptedExit},
    .run = run_ack,
};

constexpr CommandSpec kVolumeResyncCommand = {
    .name = "volume resync",
    .meaning = "bring a node's copy up to date from the primary",
    .words = "NODE",
    .usage = "NODE --config FILE [--full]",
    .description =
        "NODE gives its copy up (it leaves the in-sync set) and is brought up to date from the primary: every block is "
        "compared "
        "by checksum and copied where it differs, or everything is copied. Waits until it is in sync; interrupted, the "
        "copy goes "
        "on by itself.",
    .options = {kConfigOption, {"full", nullptr, "copy everything instead of what differs"}},
    .examples = {"resilver volume resync C --config web.toml", "resilver volume resync C --config web.toml --full"},
    .exits = {{0, "in sync"}, {1, "refused or failed"}, {2, "bad usage or configuration"}, cli::kInterruptedExit},
    .run = run_resync,
};

constexpr CommandSpec kVolumeResolveCommand = {
    .name = "volume resolve",
    .meaning = "end a split brain: discard one side",
    .usage = "--config FILE --discard NODE",
    .description =
        "Ends a split brain: NODE gives up what it has written since the two sides were one, and is brought up to date "
        "from the "
        "other side. `resilver volume status` lists what differs before.",
    .options = {kConfigOption, {"discard", "NODE", "whose writes since the two were one are given up"}},
    .examples = {"resilver volume resolve --config web.toml --discard B"},
    .exits = {{0, "done"}, {1, "refused or failed"}, {2, "bad usage or configuration"}, cli::kInterruptedExit},
    .run = run_resolve,
};

}  // namespace resilver::tools
