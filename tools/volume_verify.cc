// `resilver volume verify`: compares the copies while they are used, and repairs on demand.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "service/diagnosis.h"
#include "tools/array_progress.h"
#include "tools/commands.h"
#include "tools/volume_command.h"

namespace resilver::tools {
namespace {

using Json = nlohmann::json;
using replica::NodeId;
using replica::VerifyReport;

constexpr int kVerifySchema = 1;
constexpr std::size_t kShown = 20;

std::string report_json(const service::VolumeConfig& config, const VerifyReport& report) {
  Json different = Json::array(), compared = Json::array();
  for (const auto& difference : report.different) {
    different.push_back({{"node", name_of(config, difference.node)},
                         {"offset", difference.extent.offset},
                         {"length", difference.extent.length},
                         {"decided", difference.decided}});
  }
  for (NodeId id = 0; id < config.nodes.size(); ++id) {
    if (report.compared.contains(id)) compared.push_back(config.nodes[id].name);
  }
  return Json{{"schema", kVerifySchema},
              {"volume", config.name},
              {"compared", compared},
              {"compared_bytes", report.compared_bytes},
              {"different_bytes", report.different_bytes},
              {"undecided_bytes", report.undecided_bytes},
              {"repaired_bytes", report.repaired_bytes},
              {"unreadable_bytes", report.unreadable_bytes},
              {"different", different}}
      .dump(1);
}

// Copies that were in sync when it began, and were not compared to the end.
replica::NodeSet not_compared(NodeId primary, replica::NodeSet in_sync, const VerifyReport& report) {
  replica::NodeSet all = report.compared;
  all.add(primary);
  return in_sync - all;
}

// Exit code 0.
bool all_equal(const VerifyReport& report, replica::NodeSet missed) {
  return report.different_bytes <= report.repaired_bytes && report.unreadable_bytes == 0 && missed.bits == 0;
}

void print_report(const service::VolumeConfig& config, NodeId primary, replica::NodeSet missed,
                  const VerifyReport& report) {
  for (std::size_t i = 0; i < std::min(report.different.size(), kShown); ++i) {
    const auto& difference = report.different[i];
    fmt::print("  {:<8} {:>10} at byte {}{}\n", name_of(config, difference.node), format_size(difference.extent.length),
               difference.extent.offset,
               difference.decided ? "" : fmt::format(" is not as {}'s", name_of(config, primary)));
  }
  if (report.different.size() > kShown) fmt::print("  … (more with --json)\n");
  fmt::print("{}: {} compared of {} cop{}, {} differ{}{}\n", config.name, format_size(report.compared_bytes),
             report.compared.count(), report.compared.count() == 1 ? "y" : "ies", format_size(report.different_bytes),
             report.repaired_bytes == 0 ? "" : fmt::format(", {} repaired", format_size(report.repaired_bytes)),
             report.unreadable_bytes == 0
                 ? ""
                 : fmt::format(", {} could not be compared: unreadable", format_size(report.unreadable_bytes)));
  for (NodeId id = 0; id < config.nodes.size(); ++id) {
    if (id == primary || report.compared.contains(id)) continue;
    fmt::print("not compared: {}{}\n", config.nodes[id].name,
               missed.contains(id) ? ", though it was in sync" : ", which is not in sync");
  }
  const bool two = report.compared.count() == 1;
  if (report.undecided_bytes != 0) {
    fmt::print("which copy is right cannot be told for {}: {}\n", format_size(report.undecided_bytes),
               report.repairing && two ? "the primary's was taken"
               : two                   ? "--repair takes the primary's"
                     : "each copy has something else; nothing is repaired there. To let one of them go: "
                       "resilver volume resync NODE");
  }
  if (report.different_bytes > report.repaired_bytes && !report.repairing) {
    fmt::print("to do: resilver volume verify --config {} --repair\n", config.file);
  }
}

// Once, after a second.
Task<void> tell_waiting(VolumeSession& session, unsigned polls) {
  if (polls != 5) co_return;
  const VolumeView view = co_await session.view();
  const auto reasons = service::diagnose(session.config(), view);
  fmt::print(stderr, "resilver volume verify: waits until the copies have settled{}\n",
             reasons.empty() ? "" : ": " + reasons.front().text);
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
  unsigned polls = 0;
  const auto meanwhile = [&]() -> Task<void> {
    const auto status = co_await session.status(primary);
    if (!status || !status->replica.verifying || status->replica.verify_total_bytes == 0) {
      co_await tell_waiting(session, ++polls);
      co_return;
    }
    const std::uint64_t done = status->replica.verify_done_bytes;
    line.show(done, status->replica.verify_total_bytes, rate.of(done, session.scheduler().now()));
  };
  const auto answer = co_await session.ask(primary, order, kNever, meanwhile);
  line.end();
  if (!answer) co_return std::unexpected(answer.error());
  if (!answer->verify) co_return fail(Errc::bad_input, "an answer without a report");
  const replica::NodeSet missed = not_compared(primary, view.word()->in_sync, *answer->verify);
  if (json) {
    fmt::print("{}\n", report_json(session.config(), *answer->verify));
  } else {
    print_report(session.config(), primary, missed, *answer->verify);
  }
  co_return all_equal(*answer->verify, missed) ? kDone : kFailed;
}

int run_verify(const CommandLine& line) {
  int code = kDone;
  const auto config = read_config(line, code);
  if (!config) return code;
  const bool repair = line.has("repair"), json = line.has("json");
  return run_volume(line.command, *config,
                    [repair, json](VolumeSession& session) { return verify(session, repair, json); });
}

}  // namespace

constexpr CommandSpec kVolumeVerifyCommand = {
    .name = "volume verify",
    .meaning = "compare the copies while they are used",
    .usage = "--config FILE [--repair] [--json]",
    .description =
        "Compares all copies in sync by checksum while I/O goes on, at the pace of a resync, and lists what differs: "
        "which copy "
        "is the odd one out, the primary's as any other. Where no majority agrees, that cannot be told: of two copies "
        "--repair "
        "takes the primary's, of more none. Ctrl-C ends it on the node, too.",
    .options = {kConfigOption,
                {"repair", nullptr,
                 "overwrite what differs: with what most copies have, or, of two, with the primary's"},
                {"json", nullptr, "for programs; keys in docs/volumes.md"}},
    .examples = {"resilver volume verify --config web.toml", "resilver volume verify --config web.toml --repair"},
    .exits = {{0, "all copies in sync are equal, or are now"},
              {1, "something differs, could not be compared, or it failed"},
              {2, "bad usage or configuration"},
              cli::kInterruptedExit},
    .run = run_verify,
};

}  // namespace resilver::tools
