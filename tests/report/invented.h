// Results as a run might have given them: raid5 on one server, replica3 on three, hybrid on two with parity in each.
#pragma once

#include <string>

#include "base/units.h"
#include "scenario/results.h"

namespace resilver::report {

inline scenario::EventResult event(std::string name, std::string verb, Nanos at, Nanos outage) {
  scenario::EventResult result;
  result.name = std::move(name);
  result.verb = std::move(verb);
  result.state = scenario::EventState::applied;
  result.at = at;
  result.first_hit_after = 200 * kMicrosecond;
  result.hits = 7;
  result.window.outage.total = outage;
  return result;
}

inline void repair(scenario::RepairResult& result, Nanos time, std::uint64_t disks, std::uint64_t link) {
  result.needed = true;
  result.finished = true;
  result.time = time;
  result.copying = time;
  result.restored_bytes = 16 * kMiB;
  result.copied = 16 * kMiB;
  result.read_bytes = disks;
  result.link_bytes = link;
}

inline scenario::ContenderResult contender(std::string name, std::uint32_t nodes, std::uint32_t disks,
                                           std::uint32_t space, bool local, bool remote) {
  scenario::ContenderResult result;
  result.name = std::move(name);
  result.nodes = nodes;
  result.disks = disks;
  result.spares = nodes;
  result.space_permille = space;
  result.space_with_spares_permille = space * (disks + nodes) / disks;
  result.local_redundancy = local;
  result.remote_redundancy = remote;
  result.oracle.requests = 1000;
  result.oracle.bytes_read_back = 64 * kMiB;
  return result;
}

inline scenario::RunResults invented() {
  scenario::RunResults results;
  results.header.scenario = "disk-then-server";
  results.header.title = "A disk dies, then its server dies";
  results.header.trace_hash = 0x9f2c41d0;
  results.header.volume_bytes = 64 * kMiB;
  results.header.disk_model = "sata-ssd";
  results.header.link = "10 Gbit/s, 200 us";
  auto raid5 = contender("raid5", 1, 5, 1250, true, false);
  auto replica3 = contender("replica3", 3, 3, 3000, false, true);
  auto hybrid = contender("hybrid", 2, 10, 2500, true, true);
  const Nanos at = 2 * kSecond;
  raid5.events = {event("disk dies", "disk.fail", at, 0),
                  event("server dies", "node.power_loss", 3 * at, 2500 * kMillisecond)};
  replica3.events = {event("disk dies", "disk.fail", at, 410 * kMillisecond),
                     event("server dies", "node.power_loss", 3 * at, 600 * kMillisecond)};
  hybrid.events = {event("disk dies", "disk.fail", at, 0),
                   event("server dies", "node.power_loss", 3 * at, 610 * kMillisecond)};
  repair(raid5.events[0].window.repair, kSecond, 80 * kMiB, 0);
  repair(replica3.events[0].window.repair, 3 * kSecond, 128 * kMiB, 64 * kMiB);
  repair(hybrid.events[0].window.repair, kSecond, 80 * kMiB, 0);
  raid5.events[0].window.exposed.total = kSecond;
  hybrid.events[1].window.failovers = 1;
  replica3.events[1].window.failovers = 1;
  results.contenders = {raid5, replica3, hybrid};
  return results;
}

}  // namespace resilver::report
