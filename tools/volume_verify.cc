// `resilver volume verify`: compares the copies while they are used, and repairs on demand.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "tools/array_progress.h"
#include "tools/volume.h"
#include "tools/volume_command.h"

namespace resilver::tools {
namespace {

using Json = nlohmann::json;
using replica::NodeId;
using replica::VerifyReport;

constexpr int kVerifySchema = 1;
constexpr std::size_t kShown = 20;

constexpr OptionSpec kOptions[] = {
    {"config", "FILE", "the volume's configuration"},
    {"repair", nullptr, "overwrite what differs with the primary's data"},
    {"json", nullptr, "for programs; keys in docs/volumes.md"},
};
constexpr CommandSpec kSpec = {
    "volume verify",
    "Usage: resilver volume verify --config FILE [--repair] [--json]\n\n"
    "Compares every copy in sync with the primary's by checksum while I/O goes on, at the pace of a resync,\n"
    "and lists what differs. Ctrl-C ends it on the node, too.",
    kOptions,
    "Examples:\n"
    "  resilver volume verify --config web.toml\n"
    "  resilver volume verify --config web.toml --repair\n\n"
    "Exit: 0 the copies are equal, or are now; 1 something differs, or it failed; 2 bad usage or\n"
    "configuration, 130 interrupted.\n"};

std::string report_json(const service::VolumeConfig& config, const VerifyReport& report) {
  Json different = Json::array(), compared = Json::array();
  for (const auto& difference : report.different) {
    different.push_back({{"node", name_of(config, difference.peer)},
                         {"offset", difference.extent.offset},
                         {"length", difference.extent.length}});
  }
  for (NodeId id = 0; id < config.nodes.size(); ++id) {
    if (report.compared.contains(id)) compared.push_back(config.nodes[id].name);
  }
  return Json{{"schema", kVerifySchema},
              {"volume", config.name},
              {"compared", compared},
              {"compared_bytes", report.compared_bytes},
              {"different_bytes", report.different_bytes},
              {"repaired_bytes", report.repaired_bytes},
              {"unreadable_bytes", report.unreadable_bytes},
              {"different", different}}
      .dump(1);
}

void print_report(const service::VolumeConfig& config, NodeId primary, const VerifyReport& report) {
  for (std::size_t i = 0; i < std::min(report.different.size(), kShown); ++i) {
    const auto& difference = report.different[i];
    fmt::print("  {:<8} {:>10} at byte {}\n", name_of(config, difference.peer), format_size(difference.extent.length),
               difference.extent.offset);
  }
  if (report.different.size() > kShown) fmt::print("  … (more with --json)\n");
  fmt::print("{}: {} compared of {} cop{}, {} differ{}{}\n", config.name, format_size(report.compared_bytes),
             report.compared.count(), report.compared.count() == 1 ? "y" : "ies", format_size(report.different_bytes),
             report.repaired_bytes == 0 ? "" : fmt::format(", {} repaired", format_size(report.repaired_bytes)),
             report.unreadable_bytes == 0
                 ? ""
                 : fmt::format(", {} could not be compared: unreadable", format_size(report.unreadable_bytes)));
  for (NodeId id = 0; id < config.nodes.size(); ++id) {
    if (id != primary && !report.compared.contains(id)) fmt::print("not compared: {}\n", config.nodes[id].name);
  }
  if (report.different_bytes > report.repaired_bytes) {
    fmt::print("to do: resilver volume verify --config {} --repair\n", config.file);
  }
}

Task<Result<int>> verify(VolumeSession& session, bool repair, bool json) {
  const VolumeView view = view_of(co_await session.statuses());
  if (!view.has_primary()) {
    co_return fail(Errc::unavailable, "no node is the primary now; see resilver volume status");
  }
  const NodeId primary = *view.authority;
  if (view.word()->in_sync.count() < 2)
    co_return fail(Errc::unavailable, "no other copy is in sync: nothing to compare");
  service::Order order;
  order.verb = service::Verb::verify;
  order.repair = repair;
  ProgressLine line(session.config().name, "verify");
  const Rate rate(session.scheduler().now());
  const auto meanwhile = [&]() -> Task<void> {
    const auto status = co_await session.status(primary);
    if (!status || !status->replica.verifying) co_return;
    const std::uint64_t done = status->replica.verify_done_bytes;
    line.show(done, status->replica.verify_total_bytes, rate.of(done, session.scheduler().now()));
  };
  const auto answer = co_await session.ask(primary, order, kNever, meanwhile);
  line.end();
  if (!answer) co_return std::unexpected(answer.error());
  if (!answer->verify) co_return fail(Errc::bad_input, "an answer without a report");
  if (json) {
    fmt::print("{}\n", report_json(session.config(), *answer->verify));
  } else {
    print_report(session.config(), primary, *answer->verify);
  }
  co_return answer->verify->different_bytes > answer->verify->repaired_bytes ? kFailed : kDone;
}

}  // namespace

int volume_verify_main(int argc, char** argv) {
  int code = kDone;
  const auto line = read_command_line(argc, argv, kSpec, code);
  if (!line) return code;
  const auto config = read_config(*line, code);
  if (!config) return code;
  const bool repair = line->has("repair"), json = line->has("json");
  return run_volume(line->command, *config,
                    [repair, json](VolumeSession& session) { return verify(session, repair, json); });
}

}  // namespace resilver::tools
