#include "tests/swarm/state_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "replica/client.h"
#include "tests/support/replica_words.h"

namespace resilver::swarm {
namespace {

using scenario::Verb;

constexpr std::uint64_t kPieceBytes = 1 << 20;
// Writes that async acknowledged may still be on their way to the other copies.
constexpr Nanos kDrain = 500 * kMillisecond;

Task<void> read_piece(BlockDevice& device, BufferPool& buffers, std::uint64_t offset, std::uint64_t length, Copy& into) {
  Buffer data = buffers.allocate(length);
  const Errc status = co_await Io::read(device, offset, data);
  if (status != Errc::ok && length > kBlockBytes) {
    for (std::uint64_t at = offset; at < offset + length; at += kBlockBytes)
      co_await read_piece(device, buffers, at, kBlockBytes, into);
    co_return;
  }
  for (std::uint64_t at = offset; at < offset + length; at += kBlockBytes)
    into.readable[at / kBlockBytes] = status == Errc::ok;
  if (status == Errc::ok) std::memcpy(into.bytes.data() + offset, data.data(), length);
}

}  // namespace

Task<Result<Copy>> read_copy(Env& client, const std::string& address, std::uint32_t node) {
  replica::ClientConfig config;
  config.volume = scenario::kVolumeId;
  config.nodes = {{node, address}};
  config.own_copy = true;
  config.op_timeout_ms = 5000;
  auto device = co_await replica::Client::attach(client.scheduler(), client.buffers(), client.network(), config);
  if (!device) co_return std::unexpected(device.error());
  const std::uint64_t size = (*device)->size_bytes();
  Copy copy;
  copy.bytes.resize(size);
  copy.readable.resize(size / kBlockBytes);
  for (std::uint64_t at = 0; at < size; at += kPieceBytes)
    co_await read_piece(**device, client.buffers(), at, std::min(kPieceBytes, size - at), copy);
  co_await (*device)->close();
  co_return copy;
}

std::optional<std::uint64_t> first_difference(const Copy& one, const Copy& other) {
  for (std::uint64_t block = 0; block < one.readable.size(); ++block) {
    if (!one.readable[block] || !other.readable[block]) continue;
    const std::uint64_t at = block * kBlockBytes;
    if (std::memcmp(one.bytes.data() + at, other.bytes.data() + at, kBlockBytes) != 0) return block;
  }
  return std::nullopt;
}

StateWatch::StateWatch(const scenario::Scenario& scenario, Primaries primaries)
    : scenario_(scenario), primaries_(primaries), seen_(scenario.contenders.front().nodes.size()) {
  const auto loses_a_disk = [](const scenario::Event& event) {
    const bool given_up = event.verb == Verb::disk_slow && event.arguments.add > 300 * kMillisecond;
    return event.verb == Verb::disk_fail || event.verb == Verb::disk_hang || given_up;
  };
  copies_may_be_new_ = std::any_of(scenario.events.begin(), scenario.events.end(), loses_a_disk);
}

void StateWatch::complain(std::string what) {
  if (complaint_.empty()) complaint_ = fmt::format("{} at {} us", what, now_ / kMicrosecond);
}

void StateWatch::look(const scenario::SimFleet& fleet) {
  if (seen_.size() < 2 || !complaint_.empty()) return;
  now_ = fleet.world().now();
  for (std::uint32_t node = 0; node < seen_.size(); ++node) take(fleet, node);
  compare_nodes();
}

void StateWatch::take(const scenario::SimFleet& fleet, std::uint32_t node) {
  Seen& seen = seen_[node];
  const replica::Replica* replica = fleet.replica(node);
  seen.runs = replica != nullptr;
  if (replica == nullptr) return;
  const replica::ReplicaStatus status = replica->status();
  const bool anew = copies_may_be_new_ && status.epoch == 0;
  if (status.epoch < seen.epoch && !anew)
    complain(fmt::format("node {} goes back from epoch {} to {}", name(node), seen.epoch, status.epoch));
  seen.epoch = status.epoch;
  seen.serving = status.serving;
  seen.primary = status.role == replica::Role::primary;
  seen.inconsistent = status.inconsistent;
  seen.in_sync = status.in_sync;
  seen.redundancy = status.redundancy;
}

void StateWatch::compare_nodes() {
  std::optional<std::uint32_t> other;
  for (std::uint32_t node = 0; node < seen_.size(); ++node) {
    const Seen& seen = seen_[node];
    if (!seen.runs || !seen.serving) continue;
    const bool apart = other && primaries_ == Primaries::by_force && seen_[*other].epoch != seen.epoch;
    if (other && !apart)
      complain(
          fmt::format("{} and {} serve, epochs {} and {}", name(*other), name(node), seen_[*other].epoch, seen.epoch));
    other = node;
    if (seen.inconsistent) complain(fmt::format("{} serves a copy that is inconsistent", name(node)));
    if (!seen.in_sync.contains(node)) complain(fmt::format("{} serves and is not in sync", name(node)));
    if (seen.redundancy >= seen.in_sync.count()) complain(fmt::format("{} reports too much redundancy", name(node)));
    for (std::uint32_t member = 0; member < seen_.size(); ++member) {
      if (seen.in_sync.contains(member) && seen_[member].runs && seen_[member].inconsistent)
        complain(fmt::format("{} counts {} as in sync, whose copy is inconsistent", name(node), name(member)));
    }
  }
}

std::string StateWatch::states(const scenario::SimFleet& fleet) const {
  std::string text;
  for (std::uint32_t node = 0; node < seen_.size(); ++node) {
    const replica::Replica* replica = fleet.replica(node);
    text += fmt::format("\n  {}: ", name(node));
    if (replica == nullptr) {
      text += "no replica runs";
      continue;
    }
    text += test::words_of(replica->status());
  }
  return text + "\n";
}

Task<void> StateWatch::at_rest(scenario::SimFleet& fleet) {
  if (seen_.size() < 2 || !complaint_.empty()) co_return;
  Env& client = fleet.client();
  co_await sleep_for(client.scheduler(), kDrain);
  std::optional<std::uint32_t> primary;
  for (std::uint32_t node = 0; node < seen_.size(); ++node) {
    if (seen_[node].runs && seen_[node].serving) primary = node;
  }
  if (!primary) co_return complain("nobody serves at rest" + states(fleet));
  if (seen_[*primary].in_sync.count() != seen_.size()) complain("not all copies are in sync at rest" + states(fleet));
  const auto reference = co_await read_copy(client, name(*primary), *primary);
  if (!reference) co_return complain("the primary's copy cannot be read: " + to_string(reference.error()));
  for (std::uint32_t node = 0; node < seen_.size(); ++node) {
    if (node == *primary || !seen_[*primary].in_sync.contains(node)) continue;
    const auto copy = co_await read_copy(client, name(node), node);
    if (!copy) co_return complain(fmt::format("{}'s copy cannot be read: {}", name(node), to_string(copy.error())));
    if (const auto block = first_difference(*reference, *copy))
      complain(fmt::format("block {} of {} and {} differ at rest", *block, name(*primary), name(node)));
  }
}

}  // namespace resilver::swarm
