// `resilver volume recover`: the volume goes on from the newest copy, where the arbiter's record is lost, old or
// foreign, or where the copies that it names are gone. src/service/recover.h tells what is proven, and how.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "service/recover.h"
#include "tools/commands.h"
#include "tools/volume_command.h"
#include "tools/volume_show.h"

namespace resilver::tools {
namespace {

using replica::NodeId;
using service::Assessment;

constexpr Nanos kServesWithin = 15 * kSecond;
constexpr Nanos kPoll = 200 * kMillisecond;

struct Ask {
  std::optional<NodeId> from;
  bool json = false;
};

// "done", "needless", "in doubt", "refused"
std::string found_json(const service::VolumeConfig& config, const Assessment& found, const char* outcome) {
  nlohmann::json copies = nlohmann::json::array();
  for (NodeId id = 0; id < found.copies.size(); ++id) {
    nlohmann::json copy = {{"node", config.nodes[id].name}, {"answers", found.copies[id].has_value()}};
    if (found.copies[id]) {
      const replica::CopyFacts& facts = *found.copies[id];
      copy["copy"] = to_string(facts.copy);
      copy["usable"] = facts.eligible;
      copy["epoch"] = facts.super.known.epoch;
      copy["reigns"] = facts.super.known.reigns.size();
      copy["position"] = {{"reign", facts.position.reign}, {"seq", facts.position.seq}};
      copy["mark"] = facts.marks.counter;
    } else {
      copy["error"] = to_string(found.copies[id].error());
    }
    copies.push_back(copy);
  }
  nlohmann::json json = {{"schema", kVolumeSchema}, {"volume", config.name},  {"copies", copies},
                         {"proven", found.proven},  {"doubts", found.doubts}, {"outcome", outcome}};
  json["newest"] = found.newest ? nlohmann::json(config.nodes[*found.newest].name) : nlohmann::json();
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// Where somebody sits at a terminal.
std::optional<NodeId> ask_which(const service::VolumeConfig& config) {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDERR_FILENO) == 0) return std::nullopt;
  fmt::print(stderr,
             "go on from which copy? What only others have is left out. Its name, or nothing to leave all as it is: ");
  std::fflush(stderr);
  std::array<char, 256> line{};
  if (std::fgets(line.data(), line.size(), stdin) == nullptr) return std::nullopt;
  std::string name(line.data());
  while (!name.empty() && (name.back() == '\n' || name.back() == ' ')) name.pop_back();
  return service::find_node(config, name);
}

Task<bool> serves_soon(VolumeSession& session) {
  const Nanos deadline = session.scheduler().now() + kServesWithin;
  while (!session.interrupted() && session.scheduler().now() < deadline) {
    const VolumeView view = view_of(co_await session.statuses());
    if (view.has_primary() && view.word()->serving) co_return true;
    co_await session.stirred().wait_until(session.scheduler().now() + kPoll);
  }
  co_return false;
}

// Why nothing can be done; nothing: something can.
Status can_go_on(const service::VolumeConfig& config, const Assessment& found) {
  if (found.live) {
    return fail(Errc::busy,
                fmt::format("{} is the primary: there is nothing to recover", config.nodes[*found.live].name));
  }
  if (!found.newest)
    return fail(Errc::unavailable, "no copy answered from which the volume could go on; start the nodes");
  return {};
}

Task<Result<int>> recover(VolumeSession& session, Ask ask) {
  const service::VolumeConfig& config = session.config();
  service::Recovery recovery(session.env(), config, [&session] { return session.interrupted(); });
  const Assessment found = co_await recovery.assess();
  const auto show = [&](const char* outcome) {
    if (ask.json) fmt::print("{}", found_json(config, found, outcome));
  };
  if (!ask.json) fmt::print("{}", text_of(config, found));
  std::fflush(stdout);
  if (Status good = can_go_on(config, found); !good) {
    show("refused");
    co_return std::unexpected(good.error());
  }
  if (found.needless && !ask.from) {
    show("needless");
    if (!ask.json) fmt::print("{}\n", *found.needless);
    co_return kDone;
  }
  std::optional<NodeId> from = ask.from;
  if (!from && found.proven) from = found.newest;
  if (!from && !ask.json) from = ask_which(config);
  if (!from) {
    show("in doubt");
    co_return fail(Errc::unavailable,
                   fmt::format("nothing was changed; where that copy is to be gone on from: --from {}",
                               config.nodes[*found.newest].name));
  }
  if (!found.copies[*from] || !found.copies[*from]->eligible) {
    show("refused");
    co_return fail(Errc::bad_input, fmt::format("{}'s copy cannot be gone on from", config.nodes[*from].name));
  }
  if (Status done = co_await recovery.carry_out(found, *from); !done) {
    show("refused");
    co_return std::unexpected(done.error());
  }
  show("done");
  const bool serves = co_await serves_soon(session);
  if (!ask.json) {
    fmt::print("the volume goes on from {}{}\n", config.nodes[*from].name,
               serves ? "" : "; it does not serve yet: see resilver volume status");
  }
  co_return kDone;
}

Task<Result<int>> call_off(VolumeSession& session) {
  service::Recovery recovery(session.env(), session.config());
  const std::vector<Status> done = co_await recovery.abort();
  int code = kDone;
  for (NodeId id = 0; id < done.size(); ++id) {
    const std::string& name = session.config().nodes[id].name;
    if (done[id]) {
      fmt::print("{}: waits for no recovery\n", name);
    } else {
      fmt::print(stderr, "resilver volume recover: {}: {}\n", name, to_string(done[id].error()));
      code = kFailed;
    }
  }
  co_return code;
}

int run_recover(const CommandLine& line) {
  int code = kDone;
  const auto config = read_config(line, code);
  if (!config) return code;
  if (config->arbiter.empty())
    return refuse_usage(line.command, "a volume of one node has no record that could be lost");
  Ask ask;
  ask.json = line.has("json");
  if (line.has("from")) {
    const auto node = node_named(*config, line.text("from"));
    if (!node) return refuse_usage(line.command, "--from: " + node.error().what);
    ask.from = *node;
  }
  if (line.has("abort")) {
    if (ask.from) return refuse_usage(line.command, "--abort and --from exclude each other");
    return run_volume(line.command, *config, call_off);
  }
  return run_volume(line.command, *config, [ask](VolumeSession& session) { return recover(session, ask); });
}

}  // namespace

constexpr CommandSpec kVolumeRecoverCommand = {
    .name = "volume recover",
    .meaning = "go on from the newest copy, where the arbiter's record is lost or old",
    .usage =
        "--config FILE [--from NODE] [--json]\n"
        "--config FILE --abort",
    .description =
        "Brings back a volume that has lost its arbiter's record, or whose record and copies do not fit. Asks all "
        "copies, prints "
        "what each has, and goes on from the newest where it is proven that none has more; else it says what is in "
        "doubt, and "
        "somebody chooses with --from. All copies that answer promise to wait first, so neither a primary nor another "
        "recovery "
        "is overtaken. Start all nodes and the arbiter before.",
    .options = {kConfigOption,
                {"from", "NODE",
                 "go on from this copy, where the newest cannot be proven: what only others have is left out"},
                {"abort", nullptr, "call off a recovery that was interrupted"},
                {"json", nullptr, "what was found and done, for programs; keys in docs/volumes.md"}},
    .examples = {"resilver volume recover --config web.toml", "resilver volume recover --config web.toml --from B"},
    .exits = {{0, "the volume goes on, or needs nothing"},
              {1, "refused, in doubt or failed"},
              {2, "bad usage or configuration"},
              cli::kInterruptedExit},
    .run = run_recover,
};

}  // namespace resilver::tools
