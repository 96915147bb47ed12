// `resilver arbiter`: the process that keeps {epoch, primary, in-sync set} of one replicated volume.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "async/sync.h"
#include "async/task_group.h"
#include "base/log.h"
#include "replica/arbiter.h"
#include "tools/command.h"
#include "tools/commands.h"
#include "tools/listen.h"
#include "tools/volume_offline.h"
#include "uring/real_env.h"

namespace resilver::tools {
namespace {

constexpr std::size_t kArenaBytes = std::size_t{4} << 20;
constexpr Nanos kLockTimeout = 5 * kSecond;

Task<void> wait_for_signal(uring::StopSignal& signal, Event& stop) {
  static_cast<void>(co_await signal.wait());
  stop.set();
}

// It takes its name only when it is whole: a state that is damaged later is never taken for one that was not made yet.
Task<Status> make_state(uring::RealEnv& env, std::string path) {
  replica::ArbiterState state;
  state.arbiter = Id128::draw(env.random());
  Status done = co_await write_arbiter_state(env, path, std::move(state), false);
  if (done) log_info("made {}: a new arbiter, which knows no volume", path);
  co_return done;
}

std::string what_helps(const std::string& path, const Error& error) {
  const std::string aside = fmt::format(
      "put it aside, start without it (a new one is made), and let the nodes that know the record bring it back: "
      "`resilver volume status` tells how; mv {} {}.old",
      path, path);
  switch (error.code) {
    case Errc::unsupported:
      return error.what + "; bring the volume over: resilver volume upgrade --config FILE --state " + path;
    case Errc::not_found: return "holds no arbiter's state (zeroed, or another file); " + aside;
    case Errc::corrupt: return error.what + "; " + aside;
    case Errc::invalid_argument: return error.what + "; " + aside;
    default: return error.what;
  }
}

Task<Status> run_arbiter(uring::RealEnv& env, uring::StopSignal& signal, std::string state_path, std::string address) {
  auto listener = co_await listen_patiently(env, address);
  if (!listener) co_return std::unexpected(listener.error());
  if (access(state_path.c_str(), F_OK) != 0 && errno == ENOENT) {
    if (Status made = co_await make_state(env, state_path); !made) co_return made;
  }
  auto state = co_await env.open_disk(state_path, env.scheduler().now() + kLockTimeout);
  if (!state) co_return std::unexpected(state.error());
  const auto in_words = [&](const Error& error) {
    return fail(error.code, state_path + ": " + what_helps(state_path, error));
  };
  replica::ArbiterStore kept(env, **state);  // who is told that it listens must not be told otherwise a moment later
  if (Status good = co_await kept.load(replica::SmallRecord::Mend::no); !good) co_return in_words(good.error());
  std::printf("listening %s\n", (*listener)->address().c_str());
  std::fflush(stdout);
  Event stop(env.scheduler());
  TaskGroup tasks(env.scheduler());
  tasks.spawn(wait_for_signal(signal, stop));
  Status served = co_await replica::serve_arbiter(env, **listener, **state, stop,
                                                  [](const std::string& what) { log_info("{}", what); });
  signal.close();
  co_await tasks.join();
  if (!served) co_return in_words(served.error());
  co_return Status{};
}

int refuse_whole(const Error& error) { return refuse("arbiter", {error.code, to_string(error)}); }

int arbiter(const CommandLine& line) {
  if (!line.has("state") || !line.has("listen")) {
    return refuse_usage("arbiter", "expected --state FILE and --listen ADDRESS");
  }
  set_log_name("arbiter");
  uring::RealOptions real;
  real.arena_bytes = kArenaBytes;
  auto env = uring::RealEnv::create(real);
  if (!env) return refuse_whole(env.error());
  auto signal = uring::StopSignal::create((*env)->ring());
  if (!signal) return refuse_whole(signal.error());
  const Status served = (*env)->ring().run(run_arbiter(**env, **signal, line.text("state"), line.text("listen")));
  return served ? kDone : refuse_whole(served.error());
}

}  // namespace

constexpr CommandSpec kArbiterCommand = {
    .name = "arbiter",
    .meaning = "the process that keeps {epoch, primary, in-sync set} of a volume",
    .usage = "--state FILE --listen ADDRESS",
    .description =
        "Keeps {epoch, primary, in-sync set} of one replicated volume: a durable compare-and-swap, asked only "
        "when something must change. Says 'listening ADDRESS' and serves until SIGTERM.",
    .options = {{"state", "FILE", "its durable state; made if missing"},
                {"listen", "ADDRESS", "loopback address; port 0: any free one"}},
    .examples = {"resilver arbiter --state arbiter.img --listen 127.0.0.1:7400"},
    .exits = {{0, "stopped"}, {1, "it could not start, or its state could not be kept"}, cli::kBadUsageExit},
    .run = arbiter,
};

}  // namespace resilver::tools
