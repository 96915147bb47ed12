// `resilver volume attach`: the volume's one client, for a copy in or out, or for a load that is judged.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>

#include "base/units.h"
#include "service/diagnosis.h"
#include "tools/array_copier.h"
#include "tools/array_target.h"
#include "tools/commands.h"
#include "tools/volume_load.h"

namespace resilver::tools {
namespace {

constexpr Nanos kPoll = 100 * kMillisecond;

enum class Purpose : std::uint8_t { import, export_, load };

struct Plan {
  Purpose purpose = Purpose::load;
  std::string node;  // whose own copy; empty: the volume
  FileCopy copy;
  LoadPlan load;
};

Result<Plan> read_plan(const CommandLine& line) {
  const auto refuse_plan = [](std::string why) { return fail(Errc::bad_input, std::move(why)); };
  Plan plan;
  const int purposes = line.has("import") + line.has("export") + line.has("load");
  if (purposes != 1 || !line.words.empty())
    return refuse_plan("expected one of --import FILE, --export FILE, --load TIME");
  plan.purpose = line.has("import") ? Purpose::import : line.has("export") ? Purpose::export_ : Purpose::load;
  const bool loads = plan.purpose == Purpose::load;
  for (const char* option : {"offset", "length"}) {
    if (loads && line.has(option)) return refuse_plan(fmt::format("--{} goes with --import and --export", option));
  }
  for (const char* option : {"rate-iops", "yes-destroy-data", "json"}) {
    if (!loads && line.has(option)) return refuse_plan(fmt::format("--{} goes with --load", option));
  }
  if (line.has("node")) {
    if (plan.purpose != Purpose::export_) return refuse_plan("--node goes with --export");
    plan.node = line.text("node");
  }
  if (loads) {
    const auto length = parse_duration(line.text("load"));
    if (!length) return refuse_plan("--load: " + length.error().what);
    if (*length < kMillisecond || *length > 24 * kHour) return refuse_plan("--load: 1ms to 24h expected");
    const auto rate = parse_count(line.text("rate-iops"));
    if (!rate || *rate == 0 || *rate > 100'000) return refuse_plan("--rate-iops: 1 to 100000 expected");
    plan.load = {*length, *rate, line.has("yes-destroy-data"), line.has("json")};
    return plan;
  }
  const auto offset = line.size_of("offset", 0);
  const auto length = line.size_of("length", kUnknown);
  if (!offset || !length) return std::unexpected((offset ? length : offset).error());
  plan.copy = {line.text(plan.purpose == Purpose::import ? "import" : "export"), *offset, *length};
  return plan;
}

std::string why_it_waits(VolumeSession& session, const VolumeView& view) {
  const std::vector<service::Told> reasons = service::diagnose(session.config(), view);
  if (reasons.empty()) return "see resilver volume status --config " + session.config().file;
  return reasons.front().text + "; " + service::to_do(reasons.front());
}

// Waits, at most op_timeout, until a node says that it serves what is wanted, so that a signal can end the waiting; why
// it waits is said when it lasts. Nodes that answer no questions at all may serve all the same: then it is tried.
Task<Result<VolumeView>> wait_served(VolumeSession& session, bool writes) {
  const Nanos begun = session.scheduler().now(), deadline = begun + session.config().op_timeout;
  bool told = false;
  for (;;) {
    VolumeView view = co_await session.view();
    if (session.interrupted()) co_return fail(Errc::cancelled, "interrupted");
    const bool serves = view.has_primary() && (writes ? view.word()->writable : view.word()->serving);
    if (!view.authority || serves) co_return view;
    const std::string why = why_it_waits(session, view);
    const char* what = view.has_primary() ? "writes wait" : "no node serves the volume";
    const Nanos now = session.scheduler().now();
    if (now >= deadline) co_return fail(Errc::unavailable, fmt::format("{}: {}", what, why));
    if (!told && now > begun + kSecond) {
      told = true;
      fmt::print(stderr, "resilver volume attach: {}: {}\n", what, why);
    }
    co_await session.stirred().wait_until(now + kPoll);
  }
}

// Says why a request waits, each time that one does so for two seconds.
Task<void> tell_waiting(VolumeSession& session, replica::Client& client, const bool& ended) {
  constexpr Nanos kLong = 2 * kSecond;
  Nanos told = kNever;
  while (!session.interrupted() && !ended) {
    co_await session.stirred().wait_until(session.scheduler().now() + kSecond / 2);
    const Nanos since = client.status().waits_since;
    if (ended || since == kNever || since == told || session.scheduler().now() < since + kLong) continue;
    told = since;
    const VolumeView view = co_await session.view();
    if (ended || session.interrupted() || client.status().waits_since != since) continue;
    fmt::print(stderr, "resilver volume attach: requests wait: {}\n", why_it_waits(session, view));
  }
}

// A signal fails what is under way, so that nothing waits for nodes that do not answer.
Task<void> close_at_end(VolumeSession& session, replica::Client& client, const bool& ended) {
  while (!session.interrupted() && !ended) co_await session.stirred().wait();
  co_await client.close();
}

bool same_file(const std::string& path, const struct stat& file) {
  struct stat other;
  return stat(path.c_str(), &other) == 0 && file.st_dev == other.st_dev && file.st_ino == other.st_ino;
}

Status check_no_device(const service::VolumeConfig& config, const FileCopy& copy, const struct stat& file) {
  for (const service::NodeEntry& node : config.nodes) {
    const bool member = std::ranges::any_of(node.array, [&file](const auto& path) { return same_file(path, file); });
    if (member || (!node.device.empty() && same_file(node.device, file))) {
      return fail(Errc::bad_input, fmt::format("{}: is the device of node {}", copy.file, node.name));
    }
  }
  return {};
}

// The file of an import or an export.
struct Files {
  Descriptor source;
  Target target;
};

Task<Result<int>> copy_file(VolumeSession& session, replica::Client& client, const Plan& plan, Files& files) {
  const std::string& label = session.config().name;
  FileCopy copy = plan.copy;
  CopyEnd end{session.env(), client, client.size_bytes(), label, "volume", BufferPool::kMaxBlock, [&session] {
                return session.interrupted();
              }};
  const bool in = plan.purpose == Purpose::import;
  const Status fits = in ? check_fits(label, client.size_bytes(), copy, files.source.fd)
                         : check_range(label, client.size_bytes(), copy);
  if (!fits) co_return std::unexpected(fits.error());
  const auto bytes = in ? co_await import_from(std::move(end), copy, files.source.fd)
                        : co_await export_to(std::move(end), copy, files.target.fd());
  if (session.interrupted()) co_return fail(Errc::cancelled, "interrupted");
  if (!bytes) co_return std::unexpected(bytes.error());
  if (!in) {
    if (Status made = files.target.commit(); !made) co_return std::unexpected(made.error());
  }
  if (in) fmt::print("{} bytes into {} at byte {}\n", *bytes, label, copy.offset);
  if (!in && copy.file != "-")
    fmt::print("{} bytes from {} at byte {} into {}\n", *bytes, label, copy.offset, copy.file);
  co_return kDone;
}

Task<Result<int>> use(VolumeSession& session, replica::Client& client, const Plan& plan, Files& files, VolumeLoad& load) {
  if (plan.purpose == Purpose::load) co_return co_await load.run(client);
  co_return co_await copy_file(session, client, plan, files);
}

Status open_file(const service::VolumeConfig& config, const Plan& plan, Files& files) {
  if (plan.purpose == Purpose::load) return {};
  if (plan.purpose == Purpose::export_) {
    if (Status opened = files.target.open(plan.copy.file); !opened) return opened;
    return check_no_device(config, plan.copy, files.target.there());
  }
  if (Status opened = open_source(plan.copy, files.source); !opened) return opened;
  struct stat file;
  if (fstat(files.source.fd, &file) != 0) return std::unexpected(file_error(plan.copy.file));
  return check_no_device(config, plan.copy, file);
}

Task<Result<int>> attach(VolumeSession& session, const Plan& plan) {
  Files files;
  if (Status opened = open_file(session.config(), plan, files); !opened) co_return std::unexpected(opened.error());
  const bool reads_only = plan.purpose == Purpose::export_;
  replica::ClientConfig config = service::client_config(session.config());
  config.read_only = reads_only;
  replica::AckMode ack = session.config().ack;
  if (!plan.node.empty()) {
    const auto node = node_named(session.config(), plan.node);
    if (!node) co_return std::unexpected(node.error());
    config.nodes = {config.nodes[*node]};
    config.own_copy = true;
  } else {
    const auto view = co_await wait_served(session, !reads_only);
    if (!view) co_return std::unexpected(view.error());
    if (view->has_primary()) ack = view->word()->ack;
  }
  VolumeLoad load(session, plan.load, uring::fresh_seed() >> 1, ack);
  config.on_reign = [&load] { load.note_reign(); };
  auto& env = session.env();
  auto attached = co_await replica::Client::attach(env.scheduler(), env.buffers(), env.network(), std::move(config));
  if (!attached) {
    co_return fail(attached.error().code, attached.error().code == Errc::fenced
                                              ? "another client has attached meanwhile, and has the volume now"
                                              : attached.error().what);
  }
  bool ended = false;
  TaskGroup group(session.scheduler());
  group.spawn(close_at_end(session, **attached, ended));
  if (plan.purpose != Purpose::load) group.spawn(tell_waiting(session, **attached, ended));
  const auto code = co_await use(session, **attached, plan, files, load);
  ended = true;
  session.stirred().wake_all();
  co_await group.join();
  co_return code;
}

int run_attach(const CommandLine& line) {
  int code = kDone;
  const auto plan = read_plan(line);
  if (!plan) return refuse_usage(line.command, plan.error().what);
  const auto config = read_config(line, code);
  if (!config) return code;
  return run_volume(
      line.command, *config, [&plan](VolumeSession& session) { return attach(session, *plan); }, kDataArena);
}

}  // namespace

constexpr CommandSpec kVolumeAttachCommand = {
    .name = "volume attach",
    .meaning = "be the volume's client: import, export, or load it and judge every answer",
    .usage =
        "--config FILE --import FILE [--offset SIZE] [--length SIZE]\n"
        "--config FILE --export FILE [--node NAME] [--offset SIZE] [--length SIZE]\n"
        "--config FILE --load TIME [--rate-iops N] [--yes-destroy-data] [--json]",
    .description =
        "--import and --load become the volume's one client (an older one is ended: 'fenced') and follow it through "
        "failovers; "
        "--export reads beside whoever that is. --load uses the first 64 MiB and the last 1 MiB; cut links and kill "
        "nodes "
        "meanwhile: it tells outages, and at the end whether an acknowledged write was lost or a read wrong.",
    .options = {kConfigOption,
                {"import", "FILE", "write FILE (-: standard input) into the volume"},
                {"export", "FILE", "read the volume into FILE (-: standard output)"},
                {"node", "NAME", "with --export: that node's own copy as it is, also a side of a split brain"},
                {"offset", "SIZE", "with --import and --export: first byte of the volume", "0"},
                {"length", "SIZE", "with --import and --export: so many bytes, default to the end"},
                {"load", "TIME", "write and read for so long and judge every answer; destroys what the volume holds"},
                {"rate-iops", "N", "with --load: requests a second", "200"},
                {"yes-destroy-data", nullptr, "with --load: also if the volume holds data"},
                {"json", nullptr, "with --load: for programs; keys in docs/volumes.md"}},
    .examples = {"resilver volume attach --config web.toml --import disk.raw",
                 "resilver volume attach --config web.toml --export - --length 1M | file -",
                 "resilver volume attach --config web.toml --export b.raw --node B",
                 "resilver volume attach --config web.toml --load 30s --rate-iops 500"},
    .exits = {{0, "done"},
              {1, "refused or failed, or something acknowledged was lost or read wrong"},
              {2, "bad usage or configuration"},
              cli::kInterruptedExit},
    .run = run_attach,
};

}  // namespace resilver::tools
