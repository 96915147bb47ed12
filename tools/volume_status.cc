// `resilver volume status`: every node is asked at the same time; one screen, or JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/units.h"
#include "tools/volume.h"
#include "tools/volume_command.h"
#include "tools/volume_show.h"

namespace resilver::tools {
namespace {

constexpr OptionSpec kOptions[] = {
    {"config", "FILE", "the volume's configuration"},
    {"json", nullptr, "for programs; keys in docs/volumes.md"},
};

constexpr CommandSpec kSpec = {
    "volume status",
    "Usage: resilver volume status --config FILE [--json]\n\n"
    "Asks every node, at most a second, and prints what the volume and each copy are, and what to do.",
    kOptions,
    "Examples:\n"
    "  resilver volume status --config web.toml\n"
    "  resilver volume status --config web.toml --json\n\n"
    "Exit: 0 somebody answered, also when degraded; 1 nobody did, 2 bad usage or configuration.\n"};

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

}  // namespace

int volume_status_main(int argc, char** argv) {
  int code = kDone;
  const auto line = read_command_line(argc, argv, kSpec, code);
  if (!line) return code;
  const auto config = read_config(*line, code);
  if (!config) return code;
  const bool json = line->has("json");
  return run_volume(line->command, *config, [json](VolumeSession& session) { return show_status(session, json); });
}

}  // namespace resilver::tools
