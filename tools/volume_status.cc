// `resilver volume status`: every node is asked at the same time; one screen, or JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/units.h"
#include "tools/commands.h"
#include "tools/volume_command.h"
#include "tools/volume_show.h"

namespace resilver::tools {
namespace {

Task<Result<int>> show_status(VolumeSession& session, bool json) {
  const VolumeView view = co_await session.view();
  if (session.interrupted()) co_return fail(Errc::cancelled, "interrupted");
  const std::vector<service::Told> reasons = service::diagnose(session.config(), view);
  if (json) {
    fmt::print("{}\n", status_json(session.config(), view, reasons));
  } else {
    fmt::print("{}", status_text(session.config(), view, reasons));
  }
  co_return view.authority ? kDone : kFailed;
}

int run_status(const CommandLine& line) {
  int code = kDone;
  const auto config = read_config(line, code);
  if (!config) return code;
  const bool json = line.has("json");
  return run_volume(line.command, *config, [json](VolumeSession& session) { return show_status(session, json); });
}

}  // namespace

constexpr CommandSpec kVolumeStatusCommand = {
    .name = "volume status",
    .meaning = "the state of the volume and of every node",
    .usage = "--config FILE [--json]",
    .description = "Asks every node, at most a second, and prints what the volume and each copy are, and what to do.",
    .options = {kConfigOption, {"json", nullptr, "for programs; keys in docs/volumes.md"}},
    .examples = {"resilver volume status --config web.toml", "resilver volume status --config web.toml --json"},
    .exits = {{0, "somebody answered, also when degraded"}, {1, "nobody did"}, {2, "bad usage or configuration"}},
    .run = run_status,
};

}  // namespace resilver::tools
