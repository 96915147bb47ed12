// `resilver contender-node`: one node of a contender as a process of its own. `resilver run` starts it with a configuration
// file, is told where it listens on its standard output, and steers it over its control connection.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "base/log.h"
#include "scenario/control_json.h"
#include "scenario/node.h"
#include "tools/command.h"
#include "tools/commands.h"
#include "uring/real_env.h"

namespace resilver::tools {
namespace {

constexpr std::size_t kArenaBytes = std::size_t{64} << 20;
constexpr Nanos kEndPatience = 4 * kSecond;  // less than the runner's, which kills

struct Outcome {
  Status status;
};

// Answers the runner's questions: 'r' for a report, 'c' with a command. One runner, one connection.
Task<void> serve_control(scenario::NodeProgram& program, Listener& listener, Event& stop) {
  auto connection = co_await listener.accept();
  while (connection && !stop.is_set()) {
    Result<Message> question = co_await (*connection)->receive(kNever);
    if (!question || question->head.empty()) break;
    const std::string text(reinterpret_cast<const char*>(question->head.data()) + 1, question->head.size() - 1);
    std::string answer;
    if (question->head[0] == std::byte{'r'}) {
      answer = to_json(program.report());
    } else {
      Result<scenario::NodeCommand> command = scenario::node_command_from_json(text);
      Status taken = command ? program.command(std::move(*command)) : Status(std::unexpected(command.error()));
      answer = taken ? "ok" : to_string(taken.error());
    }
    Message message;
    message.head.resize(answer.size());
    std::memcpy(message.head.data(), answer.data(), answer.size());
    if (!co_await (*connection)->send(std::move(message), kNever)) break;
  }
  stop.set();  // without its runner a node has nothing to live for
}

Task<void> wait_for_signal(uring::StopSignal& signal, Event& stop) {
  static_cast<void>(co_await signal.wait());
  stop.set();
}

Task<void> end_with(Event& stop, uring::StopSignal& signal, Listener& control) {
  co_await stop.wait();
  signal.close();
  control.close();
}

// An injected fault lets go of what it holds when a node ends. A disk that does not answer by itself is not waited for.
Task<void> limit_the_end(Scheduler& scheduler, Event& stop, Event& ended) {
  co_await stop.wait();
  const Nanos deadline = scheduler.now() + kEndPatience;
  while (!ended.is_set() && scheduler.now() < deadline) co_await ended.wait_until(deadline);
  if (ended.is_set()) co_return;
  log_error("a disk does not answer: the node ends without it");
  std::_Exit(1);
}

Task<Outcome> run_node(uring::RealEnv& env, uring::StopSignal& signal, scenario::NodeConfig config) {
  auto first = env.tcp().listen_tcp(config.listen);
  if (!first) co_return Outcome{std::unexpected(first.error())};
  auto control = env.tcp().listen_tcp(config.control);
  if (!control) co_return Outcome{std::unexpected(control.error())};
  const std::string address = (*first)->address();

  Event stop(env.scheduler());
  Event ended(env.scheduler());
  TaskGroup tasks(env.scheduler());
  scenario::NodeProgram program(env, std::move(config));
  tasks.spawn(wait_for_signal(signal, stop));
  tasks.spawn(end_with(stop, signal, **control));
  tasks.spawn(serve_control(program, **control, stop));
  tasks.spawn(limit_the_end(env.scheduler(), stop, ended));
  std::printf("listening %s control %s\n", address.c_str(), (*control)->address().c_str());
  std::fflush(stdout);

  // The first listener is there already, so that its port is known; a later life of the replica takes the same port.
  std::unique_ptr<Listener> ready = std::move(*first);
  Status status = co_await program.run(
      [&]() -> Result<std::unique_ptr<Listener>> {
        if (ready) return std::move(ready);
        return env.network().listen(address);
      },
      stop);
  stop.set();
  ended.set();
  co_await tasks.join();
  co_return Outcome{std::move(status)};
}

int refuse_whole(const Error& error) { return refuse("contender-node", {error.code, to_string(error)}); }

int contender_node(const CommandLine& line) {
  if (!line.has("config")) return refuse_usage("contender-node", "expected --config FILE");
  const std::string path = line.text("config");
  std::ifstream file(path);
  if (!file) return refuse("contender-node", {Errc::not_found, path + ": cannot be read"}, kBadUsage);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  auto config = scenario::node_config_from_json(text);
  if (!config) return refuse("contender-node", {Errc::bad_input, path + ": " + to_string(config.error())}, kBadUsage);

  uring::RealOptions real;
  real.arena_bytes = kArenaBytes;
  auto env = uring::RealEnv::create(real);
  if (!env) return refuse_whole(env.error());
  auto signal = uring::StopSignal::create((*env)->ring());
  if (!signal) return refuse_whole(signal.error());
  const Outcome outcome = (*env)->ring().run(run_node(**env, **signal, std::move(*config)));
  return outcome.status ? kDone : refuse_whole(outcome.status.error());
}

}  // namespace

constexpr CommandSpec kContenderNodeCommand = {
    .name = "contender-node",
    .meaning = "one node of a contender; `run` starts it",
    .usage = "--config FILE",
    .description = "One node of a contender: its disks, array and replica. Started by resilver run; ends with it.",
    .options = {{"config", "FILE", "file that `resilver run` wrote"}},
    .examples = {"resilver contender-node --config work/raid5-A.json"},
    .exits = {{0, "stopped"}, {1, "it failed"}, {2, "bad usage or configuration"}},
    .run = contender_node,
    .internal = true,
};

}  // namespace resilver::tools
