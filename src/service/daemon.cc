#include "service/daemon.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/units.h"
#include "replica/offline.h"
#include "service/device_words.h"
#include "service/diagnosis.h"

namespace resilver::service {
namespace {

constexpr Nanos kSendTimeout = 5 * kSecond;
constexpr std::uint64_t kMaxOrderMs = 600'000;

Answer answer_of(const Status& status) {
  if (status) return {};
  return {.error = status.error().code, .what = to_string(status.error()), .status = {}, .verify = {}, .facts = {}};
}

// Lists of extents share the room that one message has.
void cut_lists(replica::ReplicaStatus& status) {
  std::size_t room = kMaxListed;
  for (replica::PeerStatus& peer : status.peers) {
    peer.divergent.resize(std::min(peer.divergent.size(), room));
    room -= peer.divergent.size();
  }
}

}  // namespace

Daemon::Daemon(Env& env, const VolumeConfig& config, replica::NodeId self, Storage storage)
    : env_(env),
      scheduler_(env.scheduler()),
      config_(config),
      self_(self),
      storage_(std::move(storage)),
      ended_(scheduler_),
      orders_(scheduler_) {
  if (storage_.array != nullptr) storage_.array->set_listener(this);
}

Daemon::~Daemon() {
  if (storage_.array != nullptr) storage_.array->set_listener(nullptr);
}

Task<Status> Daemon::open() {
  if (config_.id.none()) co_return fail(Errc::bad_input, missing_id(config_));
  replica::ReplicaConfig config = replica_config(config_, self_);
  config.suspect_device = storage_.array != nullptr && storage_.array->doubtful();
  config.on_event = [this](const replica::ReplicaEvent& event) { log_event(event); };
  auto opened = co_await replica::Replica::open(env_, std::move(config), *storage_.device, replica::Start::as_it_is);
  if (!opened) co_return co_await refuse_device(opened.error());
  replica_ = std::move(*opened);
  co_return Status{};
}

Task<Status> Daemon::refuse_device(Error error) {
  co_return fail(error.code, co_await why_no_copy(env_, config_, self_, *storage_.device, storage_.label, error));
}

// What status tells is in the log, too: once when it has lasted, and when it is over.
Task<void> Daemon::watch_findings() {
  constexpr Nanos kLook = 500 * kMillisecond;
  while (!ended_.is_set()) {
    co_await ended_.wait_until(scheduler_.now() + kLook);
    if (ended_.is_set()) co_return;
    decltype(found_) now;
    for (const replica::Finding& finding : status().replica.findings) {
      const auto key = std::pair(finding.reason, finding.node);
      const auto before = found_.find(key);
      const bool lasts = before != found_.end();
      if (lasts && !before->second)
        log_info("{}: {}", replica::reason_name(finding.reason), told_line(config_, self_, finding));
      now[key] = lasts;
    }
    for (const auto& [key, logged] : found_) {
      if (logged && !now.contains(key))
        log_info("{}{}: over", replica::reason_name(key.first),
                 key.second == replica::kNoNode ? "" : " " + name_of(key.second));
    }
    found_ = std::move(now);
  }
}

Task<void> Daemon::run(Listener& listener, Listener& control, Event& stop) {
  TaskGroup tasks(scheduler_);
  tasks.spawn(end_at(stop));
  tasks.spawn(accept(control));
  tasks.spawn(watch_findings());
  co_await replica_->run(listener, ended_);
  control.close();
  for (Connection* connection : connections_) connection->close();
  co_await tasks.join();
  co_await orders_.join();
  replica_.reset();
}

Task<void> Daemon::end_at(Event& stop) {
  co_await stop.wait();
  co_await hand_over();
  ended_.set();
}

// A planned stop costs no failed request, if another copy can take over.
Task<void> Daemon::hand_over() {
  const replica::ReplicaStatus now = replica_->status();
  if (now.role != replica::Role::primary || now.in_sync.count() < 2) co_return;
  log_info("stopping: hands over first");
  const Status handed = co_await demote(scheduler_.now() + kHandOver);
  if (!handed) log_info("not handed over: {}", to_string(handed.error()));
}

// Right after a promotion the other copies in sync cannot take over yet: they are waited for.
Task<Status> Daemon::demote(Nanos deadline) {
  for (;;) {
    const Status handed = co_await replica_->demote(deadline);
    const bool soon = !handed && handed.error().code == Errc::unavailable && replica_->status().in_sync.count() > 1;
    if (!soon || scheduler_.now() >= deadline) co_return handed;
    co_await sleep_for(scheduler_, 10 * kMillisecond);
  }
}

// ---- control -------------------------------------------------------------------------------------------------------

Task<void> Daemon::accept(Listener& control) {
  for (;;) {
    auto connection = co_await control.accept();
    if (!connection) break;
    if (connections_.size() >= kMaxConnections || ended_.is_set()) continue;
    connections_.push_back(connection->get());
    orders_.spawn(converse(std::move(*connection)));
  }
}

Task<void> Daemon::converse(std::unique_ptr<Connection> connection) {
  while (!ended_.is_set()) {
    const Result<Message> question = co_await connection->receive(scheduler_.now() + kIdle);
    if (!question || ended_.is_set()) break;
    const Result<Order> order = order_from_json(text_of(*question));
    Answer answer = order ? Answer{} : answer_of(std::unexpected(order.error()));
    if (order && order->volume != config_.id) {
      answer =
          answer_of(fail(Errc::bad_input, fmt::format("this node serves another volume, '{}' (id {}, not {})",
                                                      config_.name, short_text(config_.id), short_text(order->volume))));
    } else if (order && order->verb == Verb::verify) {
      co_await verify(order->repair, *connection);
      break;
    } else if (order) {
      answer = co_await carry_out(*order);
    }
    if (!co_await send_text(*connection, to_json(answer), scheduler_.now() + kSendTimeout)) break;
  }
  std::erase(connections_, connection.get());
}

Task<Answer> Daemon::carry_out(Order order) {
  const Nanos deadline = scheduler_.now() + static_cast<Nanos>(std::min(order.timeout_ms, kMaxOrderMs)) * kMillisecond;
  switch (order.verb) {
    case Verb::status: {
      Answer answer;
      answer.status = status();
      co_return answer;
    }
    case Verb::promote:
      log_info("ordered to become the primary{}", order.force ? ", by force" : "");
      if (order.force) co_return answer_of(co_await replica_->promote_by_force());
      co_return answer_of(co_await replica_->promote(deadline));
    case Verb::demote: log_info("ordered to hand over"); co_return answer_of(co_await demote(deadline));
    case Verb::set_ack:
      if (order.ack > replica::AckMode::async) break;  // of another version
      log_info("ordered to acknowledge as {}", replica::ack_mode_name(order.ack));
      co_return answer_of(co_await replica_->set_ack(order.ack, deadline));
    case Verb::verify: break;  // see converse()
    case Verb::resync:
      log_info("ordered to give its copy up{}", order.full ? ", all of it" : "");
      co_return answer_of(co_await replica_->invalidate(order.full));
    case Verb::resolve:
      log_info("split brain with {}: ordered to discard {}", name_of(order.peer),
               order.discard_local ? "this side" : "the other side");
      co_return answer_of(co_await replica_->resolve(
          order.peer, order.discard_local ? replica::Resolution::discard_local : replica::Resolution::discard_remote));
    case Verb::facts: {
      Answer answer;
      answer.facts = replica_->facts();
      co_return answer;
    }
    case Verb::prepare:
      log_info("a recovery asks to wait for it");
      co_return answer_of(co_await replica_->promise(order.promise));
    case Verb::abort: log_info("the recovery was called off"); co_return answer_of(co_await replica_->abort_recovery());
  }
  co_return answer_of(fail(Errc::unsupported, "no such order"));
}

struct Daemon::Watch {
  explicit Watch(Scheduler& scheduler) : gone(scheduler) {}
  bool verified = false;
  Event gone;
};

// Whoever asked for a verify has this connection for nothing else: when he has gone, the verify ends.
Task<void> Daemon::verify(bool repair, Connection& connection) {
  Watch watch(scheduler_);
  TaskGroup group(scheduler_);
  Answer answer;
  if (replica_->status().verifying) {
    answer = answer_of(fail(Errc::busy, "a verify is running"));
  } else {
    group.spawn(end_verify_when_gone(connection, watch));
    log_info("verify{} begins", repair ? " with repair" : "");
    Result<replica::VerifyReport> report = co_await replica_->verify(repair);
    watch.verified = true;
    if (report) {
      log_info("verify: {} bytes compared, {} differ, {} repaired", report->compared_bytes, report->different_bytes,
               report->repaired_bytes);
      report->different.resize(std::min(report->different.size(), kMaxListed));
      answer.verify = std::move(*report);
    } else {
      log_info("verify: {}", to_string(report.error()));
      answer = answer_of(std::unexpected(report.error()));
    }
  }
  static_cast<void>(co_await send_text(connection, to_json(answer), scheduler_.now() + kSendTimeout));
  if (group.running() > 0) co_await watch.gone.wait_until(scheduler_.now() + kIdle);
  connection.close();
  co_await group.join();
}

Task<void> Daemon::end_verify_when_gone(Connection& connection, Watch& watch) {
  static_cast<void>(co_await connection.receive(kNever));
  watch.gone.set();
  if (!watch.verified) replica_->end_verify();
}

NodeStatus Daemon::status() const {
  NodeStatus status;
  status.volume = config_.name;
  status.node = config_.nodes[self_].name;
  status.size_bytes = replica_->volume_bytes();
  status.replica = replica_->status();
  cut_lists(status.replica);
  for (const replica::PeerStatus& peer : status.replica.peers) {
    const auto began = copy_began_.find(peer.id);
    if (!peer.resyncing || began == copy_began_.end()) continue;
    const Nanos passed = std::max<Nanos>(scheduler_.now() - began->second, kMillisecond);
    status.rates.push_back({peer.id, peer.resync_done_bytes * 1000 / static_cast<std::uint64_t>(passed / kMillisecond)});
  }
  if (storage_.array != nullptr) {
    status.array = array_report();
    auto& findings = status.replica.findings;
    const ArrayReport& array = *status.array;
    if (array.failed) findings.push_back({replica::Reason::array_failed, replica::kNoNode, 0, 0, array.state});
    if (!array.failed && !array.redundancy_full)
      findings.push_back({replica::Reason::array_degraded, replica::kNoNode, 0, 0, array.state});
  }
  return status;
}

ArrayReport Daemon::array_report() const {
  const raid::ArrayStatus status = storage_.array->status();
  ArrayReport report;
  report.state = storage_.array_state();
  if (status.recovery.kind != raid::RecoveryKind::none) report.recovery = raid::name(status.recovery.kind);
  report.done_bytes = status.recovery.done_bytes;
  report.total_bytes = status.recovery.total_bytes;
  report.lost_blocks = status.lost_blocks.size();
  report.failed = status.state == raid::ArrayState::failed;
  report.redundancy_full = storage_.array->redundancy_full();
  return report;
}

// ---- log -----------------------------------------------------------------------------------------------------------

std::string Daemon::name_of(replica::NodeId id) const {
  return id < config_.nodes.size() ? config_.nodes[id].name : "a stranger";
}

void Daemon::log_event(const replica::ReplicaEvent& event) {
  using replica::EventKind;
  const std::string peer = name_of(event.peer);
  switch (event.kind) {
    case EventKind::became_primary: return log_info("primary now, epoch {}", event.epoch);
    case EventKind::lost_primary: return log_info("not the primary any more");
    case EventKind::peer_left: return log_info("{} left the in-sync set", peer);
    case EventKind::peer_joined: return log_info("{} is in sync", peer);
    case EventKind::resync_started:
      copy_began_[event.peer] = event.at;
      return log_info("{} is brought up to date, {} to look at: {}", peer, format_size(event.bytes),
                      replica::resync_why_name(event.why));
    case EventKind::resync_finished: return log_info("{} is up to date, {} copied", peer, format_size(event.bytes));
    case EventKind::block_healed:
      return log_info("{} at byte {} could not be read and were healed from a peer", format_size(event.bytes),
                      event.offset);
    case EventKind::device_failed: return log_info("{} failed: this copy takes no part any more", storage_.label);
    case EventKind::block_lost: return log_info("no copy can read the block at byte {}: lost", event.offset);
    case EventKind::split_brain:
      return log_info("split brain: {} has a history of its own; nothing is copied until someone chooses", peer);
    case EventKind::record_reinstalled:
      return log_info("the arbiter's record had gone back; it is put right, epoch {}", event.epoch);
    case EventKind::peer_refused: return log_info("a session with {} was ended: {}", peer, errc_name(event.reason));
  }
}

void Daemon::on_event(const raid::ArrayEvent& event) {
  using raid::EventKind;
  switch (event.kind) {
    case EventKind::rebuild_progress: return;
    case EventKind::member_failed: return log_info("array: {} failed: {}", event.member, errc_name(event.error));
    case EventKind::block_lost:
    case EventKind::block_healed:
      if (event.value == raid::kNoAddress) return log_info("array: {} (parity)", raid::name(event.kind));
      return log_info("array: {} at byte {}", raid::name(event.kind), event.value);
    default: return log_info("array: {}{}{}", raid::name(event.kind), event.member.empty() ? "" : " ", event.member);
  }
}

}  // namespace resilver::service
