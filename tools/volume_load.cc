#include "tools/volume_load.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/units.h"

namespace resilver::tools {
namespace {

using Json = nlohmann::json;

constexpr std::uint32_t kMaxInFlight = 256;
constexpr std::uint64_t kPieceBytes = kMiB;
constexpr Nanos kLook = 50 * kMillisecond;
constexpr int kLoadSchema = 1;

bool all_zero(std::span<const std::byte> bytes) {
  return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

Error io_error(IoOp op, std::uint64_t offset, Errc status) {
  return {status, fmt::format("{} at byte {} of the volume: {}", io_op_name(op), offset, errc_name(status))};
}

workload::Durability durability_of(replica::AckMode ack) {
  const bool prefix = ack == replica::AckMode::async || ack == replica::AckMode::received;
  return prefix ? workload::Durability::prefix : workload::Durability::on_ack;
}

Json latency_json(const LatencyHistogram& latency) {
  return {{"p50_ns", latency.percentile(5000)}, {"p99_ns", latency.percentile(9900)}, {"max_ns", latency.max()}};
}

std::string latency_text(const char* kind, const LatencyHistogram& latency) {
  return fmt::format("{} p50 {} p99 {} max {}", kind, format_duration(latency.percentile(5000)),
                     format_duration(latency.percentile(9900)), format_duration(latency.max()));
}

}  // namespace

void VolumeLoad::note_reign() {
  if (oracle_) oracle_->note_failover(session_.scheduler().now());
}

Task<Result<bool>> VolumeLoad::is_zero(replica::Client& client, std::uint64_t begin, std::uint64_t end,
                                       std::uint64_t& where) {
  for (where = begin; where < end && !session_.interrupted(); where += kPieceBytes) {
    const Buffer buffer = session_.env().buffers().allocate(std::min(kPieceBytes, end - where));
    if (!buffer) co_return fail(Errc::limit, "no memory for a buffer");
    const Errc status = co_await Io::read(client, where, buffer);
    if (status != Errc::ok) co_return std::unexpected(io_error(IoOp::read, where, status));
    if (!all_zero(buffer.bytes())) co_return false;
  }
  co_return true;
}

// What was never written must be zero, so that the oracle can judge what is read there.
Task<Status> VolumeLoad::prepare(replica::Client& client, std::uint64_t begin, std::uint64_t end) {
  std::uint64_t where = begin;
  const auto zero = co_await is_zero(client, begin, end, where);
  if (!zero) co_return std::unexpected(zero.error());
  if (*zero) co_return Status{};
  if (!plan_.destroy) {
    co_return fail(Errc::exists,
                   fmt::format("the volume holds data, at byte {}; --yes-destroy-data overwrites its first "
                               "{} and its last {}",
                               where, format_size(kMostBytes), format_size(workload::Prober::kRegionBytes)));
  }
  for (; where < end && !session_.interrupted(); where += kPieceBytes) {
    const Errc status = co_await Io::write_zeroes(client, where, std::min(kPieceBytes, end - where));
    if (status != Errc::ok) co_return std::unexpected(io_error(IoOp::write_zeroes, where, status));
  }
  co_return Status{};
}

Task<Result<int>> VolumeLoad::run(replica::Client& client) {
  const std::uint64_t size = client.size_bytes();
  if (size < 2 * workload::Prober::kRegionBytes) {
    co_return fail(Errc::bad_input,
                   fmt::format("--load needs a volume of at least {}", format_size(2 * workload::Prober::kRegionBytes)));
  }
  const std::uint64_t probe_begin = size - workload::Prober::kRegionBytes;
  const std::uint64_t load_end = std::min(probe_begin, kMostBytes);
  // All is looked at before anything is overwritten.
  for (const auto& [begin, end] : {std::pair(std::uint64_t{0}, load_end), std::pair(probe_begin, size)}) {
    if (Status ready = co_await prepare(client, begin, end); !ready) co_return std::unexpected(ready.error());
  }
  if (session_.interrupted()) co_return fail(Errc::cancelled, "interrupted");
  workload::OracleConfig config;
  config.volume_id = run_id_;
  config.volume_bytes = size;
  config.durability = durability_of(ack_);
  config.max_inflight = kMaxInFlight + 4 * workload::Prober::kMaxOutstanding;
  oracle_ = std::make_unique<workload::Oracle>(config);
  workload::LoadSpec spec;
  spec.end = load_end;
  spec.rate_iops = plan_.rate_iops;
  spec.seed = run_id_;
  Scheduler& scheduler = session_.scheduler();
  BufferPool& buffers = session_.env().buffers();
  driver_ = std::make_unique<workload::Driver>(scheduler, buffers, client, *oracle_, spec, kMaxInFlight);
  prober_ = std::make_unique<workload::Prober>(
      scheduler, buffers, client, *oracle_,
      workload::ProberConfig{probe_begin, workload::Prober::kLeastPeriod, 3 * workload::Prober::kLeastPeriod});
  driver_->count_in(&stats_);
  co_await measure(client);
  co_return report(client);
}

Task<void> VolumeLoad::measure(replica::Client& client) {
  Scheduler& scheduler = session_.scheduler();
  told_ = client.status().node;
  start_ = scheduler.now();
  TaskGroup group(scheduler);
  group.spawn(driver_->run(start_, stop_));
  group.spawn(prober_->run(stop_));
  while (!session_.interrupted() && !client.status().fenced && scheduler.now() < start_ + plan_.length) {
    co_await session_.stirred().wait_until(std::min(scheduler.now() + kLook, start_ + plan_.length));
    tell_changes(client.status());
  }
  end_ = scheduler.now();
  stop_.set();
  co_await group.join();
  Event never(scheduler);
  fenced_ = client.status().fenced;
  if (!cut_short()) co_await driver_->read_back(never);
  fenced_ = client.status().fenced;
}

// While it happens, for whoever pulls the cables.
void VolumeLoad::tell_changes(const replica::ClientStatus& now) {
  if (!now.attached || now.node == told_) return;
  told_ = now.node;
  fmt::print(stderr, "{}: {} serves now\n", format_duration(session_.scheduler().now() - start_),
             name_of(session_.config(), now.node));
}

// Once another client has the volume its writes are ours' successors: nothing can be said of ours.
bool VolumeLoad::wrong() const {
  if (fenced_) return false;
  const workload::OracleCounts& counts = oracle_->counts();
  return counts.lost_writes + counts.stale_reads + counts.corrupt_reads + counts.prefix_breaks +
             counts.unreadable_bytes !=
         0;
}

int VolumeLoad::report(const replica::Client& client) const {
  fmt::print("{}", plan_.json ? json(client) : text(client));
  if (fenced_) {
    fmt::print(stderr, "resilver volume attach: fenced after {}: another client has attached, and has the volume now\n",
               format_duration(end_ - start_));
    return kFailed;
  }
  if (session_.interrupted()) return kInterrupted;
  return wrong() ? kFailed : kDone;
}

std::string VolumeLoad::text(const replica::Client& client) const {
  const workload::OracleCounts& counts = oracle_->counts();
  const replica::ClientStatus status = client.status();
  const auto outages = prober_->outages(start_, end_);
  std::string text = fmt::format("{}: {} reads, {} writes in {}, {} failed{}\n", session_.config().name, stats_.reads,
                                 stats_.writes, format_duration(end_ - start_), driver_->errors(),
                                 fenced_                  ? " (fenced by another client, not read back)"
                                 : session_.interrupted() ? " (interrupted, not read back)"
                                                          : "");
  text += fmt::format("latency: {}, {}\n", latency_text("reads", stats_.read_latency),
                      latency_text("writes", stats_.write_latency));
  text += fmt::format("failovers {}, requests sent again {}\n", status.failovers, status.resent);
  text += fmt::format("without service {} in {} outage{}\n", format_duration(prober_->outage(start_, end_).total),
                      outages.size(), outages.size() == 1 ? "" : "s");
  for (const auto& outage : outages) {
    text += fmt::format("  at {} for {}\n", format_duration(outage.begin - start_),
                        format_duration(outage.end - outage.begin));
  }
  if (fenced_)
    return text + "another client has the volume now: what was acknowledged is there until it overwrites it\n";
  return text + fmt::format(
                    "acknowledged writes lost {}, stale reads {}, corrupt reads {}, unreadable {}; unknown "
                    "writes {}\n",
                    counts.lost_writes, counts.stale_reads + counts.prefix_breaks, counts.corrupt_reads,
                    format_size(counts.unreadable_bytes), counts.unknown_writes);
}

std::string VolumeLoad::json(const replica::Client& client) const {
  const workload::OracleCounts& counts = oracle_->counts();
  const replica::ClientStatus status = client.status();
  const auto total = prober_->outage(start_, end_);
  Json outages = Json::array();
  for (const auto& outage : prober_->outages(start_, end_)) {
    outages.push_back({{"at_ns", outage.begin - start_}, {"for_ns", outage.end - outage.begin}});
  }
  const Json json = {{"schema", kLoadSchema},
                     {"volume", session_.config().name},
                     {"ack", replica::ack_mode_name(ack_)},
                     {"length_ns", end_ - start_},
                     {"interrupted", session_.interrupted()},
                     {"fenced", fenced_},
                     {"reads", stats_.reads},
                     {"writes", stats_.writes},
                     {"failed", driver_->errors()},
                     {"read_latency", latency_json(stats_.read_latency)},
                     {"write_latency", latency_json(stats_.write_latency)},
                     {"primary", name_of(session_.config(), status.node)},
                     {"failovers", status.failovers},
                     {"sessions", status.sessions},
                     {"resent", status.resent},
                     {"outage_ns", total.total},
                     {"outage_at_end", total.never_ended},
                     {"outages", outages},
                     {"lost_writes", fenced_ ? 0 : counts.lost_writes},
                     {"stale_reads", counts.stale_reads + counts.prefix_breaks},
                     {"corrupt_reads", counts.corrupt_reads},
                     {"unknown_writes", counts.unknown_writes},
                     {"failed_reads", counts.failed_reads},
                     {"unreadable_bytes", fenced_ ? 0 : counts.unreadable_bytes},
                     {"bytes_read_back", counts.bytes_read_back}};
  return json.dump(1) + "\n";
}

}  // namespace resilver::tools
