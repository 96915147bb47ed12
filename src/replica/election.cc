#include "replica/election.h"

#include <algorithm>
#include <utility>

#include "async/task_group.h"
#include "base/planted_bug.h"

namespace resilver::replica {

// When this node should look at the record: at its start, after a grace without beacons, at once after a resignation.
Nanos Election::due() const {
  if (core_.handed) return 0;
  if (core_.primary_resigned || core_.force_promotion) return next_ask_;
  if (secondary_.active() || core_.last_heard > started_) return std::max(next_ask_, core_.last_heard + core_.grace());
  return next_ask_;
}

Task<std::optional<Election::Win>> Election::wait_and_try() {
  while (core_.now() < due()) {
    if (core_.stopping.is_set() || core_.device_failed) co_return std::nullopt;
    const bool follows = secondary_.active() && !core_.primary_resigned && !core_.force_promotion;
    if (follows) next_ask_ = 0;  // what was put off before counts no more
    co_await core_.changed.wait_until(due());
  }
  if (core_.handed) co_return co_await succeed();
  next_ask_ = core_.now() + core_.grace() / 4;
  const auto now = co_await arbiter_.get(core_.now() + core_.lease());
  if (!now || core_.stopping.is_set() || core_.device_failed) co_return std::nullopt;
  core_.primary = now->record.primary;
  core_.in_sync = now->record.in_sync;
  if (core_.force_promotion) co_return co_await force(*now);
  const bool virgin = now->record.epoch == 0;
  const bool named =
      virgin ? core_.config.first_primary == core_.config.self : now->record.in_sync.contains(core_.config.self);
  if (!named || !eligible(virgin)) {
    core_.primary_resigned = false;
    next_ask_ = core_.now() + core_.grace();
    co_return std::nullopt;
  }
  const bool own_record = virgin || now->record.primary == core_.config.self;
  const Nanos quiet_since = std::max(core_.last_heard, started_);
  if (!own_record && !core_.primary_resigned && core_.now() < quiet_since + core_.grace()) {
    next_ask_ = quiet_since + core_.grace();
    co_return std::nullopt;
  }
  co_return co_await propose(*now);
}

bool Election::eligible(bool virgin) const {
  const Superblock& s = core_.metadata.now();
  const bool consistent = !s.inconsistent || planted(PlantedBug::inconsistent_promoted);
  return !core_.device_failed && consistent && s.fresh() == virgin;
}

// The operator takes this copy, whatever the others have: the set is this node alone. Half-copied, new and failed ones are
// refused even so (rule 7), and a node that hears a primary: that one would have to be stopped first.
Task<std::optional<Election::Win>> Election::force(VersionedRecord now) {
  const Nanos quiet = core_.last_heard + core_.grace();
  core_.force_refused = Errc::ok;
  if (!eligible(false)) {
    core_.force_refused = Errc::unavailable;
  } else if (secondary_.active() && core_.other_history.empty() && core_.now() < core_.last_heard + core_.lease()) {
    core_.force_refused = Errc::busy;
  }
  if (core_.force_refused != Errc::ok) {
    core_.force_promotion = false;
    core_.changed.wake_all();
    co_return std::nullopt;
  }
  // A member may have granted a lease just before; a node outside the set has granted none.
  if (now.record.in_sync.contains(core_.config.self) && core_.now() < quiet) {
    next_ask_ = quiet;
    co_return std::nullopt;
  }
  auto win = co_await swap(now, NodeSet::of(core_.config.self), NodeSet::of(core_.config.self), true);
  if (win) core_.force_promotion = false;
  co_return win;
}

PromoteAnswer Election::answer() const {
  PromoteAnswer a;
  const Superblock& s = core_.metadata.now();
  a.node = core_.config.self;
  a.fresh = s.fresh();
  a.eligible = !core_.device_failed && !s.inconsistent && core_.role != Role::primary;
  a.hears_primary = core_.role == Role::primary ||
                    (secondary_.active() && !core_.primary_resigned && core_.now() < core_.last_heard + core_.lease());
  a.position = core_.position;
  return a;
}

Task<std::optional<Election::Win>> Election::propose(VersionedRecord now) {
  const bool virgin = now.record.epoch == 0;
  NodeSet others = virgin ? core_.configured() : now.record.in_sync;
  others.remove(core_.config.self);
  if (core_.primary_resigned) others.remove(now.record.primary);  // its disk is gone: it cannot be one of them
  const Nanos heard = core_.last_heard;
  if (!co_await core_.disk_answers()) co_return std::nullopt;
  const Answers answers = co_await query(others, now.record);
  if (core_.stopping.is_set() || core_.device_failed || core_.last_heard != heard) co_return std::nullopt;

  // Our own record after a restart: the others may be starting too; give them a grace before they are left behind.
  const bool own_record = virgin || now.record.primary == core_.config.self;
  const bool patient = own_record && core_.now() < started_ + core_.grace() && answers.answered != others;
  const bool others_first = (answers.hears_primary && !own_record) || answers.better;
  if (patient || (others_first && rounds_ < 3)) {
    if (!patient) ++rounds_;
    next_ask_ = core_.now() + (patient ? core_.beacon() : core_.grace() / 4);
    co_return std::nullopt;
  }
  rounds_ = 0;
  NodeSet present = answers.usable;
  present.add(core_.config.self);
  NodeSet members = present;
  if (!virgin && now.record.ack == AckMode::quorum) {
    const unsigned majority = core_.configured().count() / 2 + 1, in_sync = now.record.in_sync.count();
    const unsigned needed = in_sync >= majority ? in_sync - majority + 1 : 1;
    if (answers.behind.count() + 1 < needed) {
      next_ask_ = core_.now() + core_.grace() / 4;
      co_return std::nullopt;
    }
    members = now.record.in_sync;
  }
  co_return co_await swap(now, members, present);
}

// Under `quorum` nothing goes on without answers, also from far away. The primary was silent for a grace: it is asked as well,
// since it may be back, but the others do not wait for it. (A killed process may even seem to listen for a while.)
Task<Election::Answers> Election::query(NodeSet members, const Record& record) {
  const bool virgin = record.epoch == 0;
  const Nanos patience = record.ack == AckMode::quorum ? core_.lease() / 2 : core_.lease() / 4;
  Answers answers;
  TaskGroup group(core_.scheduler);
  for (const auto& peer : core_.config.peers) {
    if (!members.contains(peer.id)) continue;
    const bool silent = !virgin && peer.id == record.primary;
    const Nanos deadline = core_.now() + (silent ? std::min(patience, core_.beacon()) : patience);
    group.spawn(query_one(peer.id, virgin, deadline, answers));
  }
  co_await group.join();
  co_return answers;
}

Task<void> Election::query_one(NodeId id, bool virgin, Nanos deadline, Answers& answers) {
  auto connection = co_await core_.env.network().connect(*core_.address_of(id), deadline);
  if (!connection) co_return;
  OpenSession session(core_, std::move(*connection));
  const PromoteQuery question{core_.config.volume, core_.config.self};
  if (!co_await session->send_now(encode(core_.epoch(), question), deadline)) co_return;
  auto received = co_await session->receive(deadline);
  session->close();
  if (!received) co_return;
  const auto* a = std::get_if<PromoteAnswer>(&received->body);
  if (a == nullptr || a->node != id) co_return;
  answers.answered.add(id);
  answers.hears_primary = answers.hears_primary || a->hears_primary;
  if (!a->eligible || a->fresh != virgin || (virgin && !core_.config.blank_devices)) co_return;
  answers.usable.add(id);
  if (virgin) co_return;
  bool more = a->position > core_.position, less = a->position < core_.position;
  if (planted(PlantedBug::quorum_promotes_the_shorter)) std::swap(more, less);
  if (!more) answers.behind.add(id);
  if (more || (!less && id < core_.config.self)) answers.better = true;
}

Task<std::optional<Election::Win>> Election::swap(VersionedRecord now, NodeSet members, NodeSet heard, bool forced) {
  const bool virgin = now.record.epoch == 0;
  const Record wanted{now.record.epoch + 1, core_.config.self, members, core_.new_nonce(forced),
                      virgin ? core_.config.ack : now.record.ack};
  core_.proposing = true;
  if (!planted(PlantedBug::no_fencing)) co_await secondary_.expel();
  std::optional<Win> win;
  while (!core_.stopping.is_set()) {
    const auto result = co_await arbiter_.compare_and_swap(now.version, wanted, core_.now() + core_.lease());
    if (result) {
      if (result->swapped || result->now.record == wanted) win = Win{{result->now.version, wanted}, virgin, heard};
      break;
    }
    co_await core_.stopping.wait_until(core_.now() + core_.beacon());
  }
  if (core_.stopping.is_set() || (win && !co_await store(now.record, wanted))) win.reset();
  core_.proposing = false;
  core_.primary_resigned = false;
  core_.last_heard = core_.now();
  co_return win;
}

// The epoch is durable before it is obeyed, and so is how much this copy has: by definition all, in the new reign.
Task<bool> Election::store(const Record& before, const Record& won) {
  const Position here{won.epoch, core_.position.seq};
  const Errc stored = co_await core_.metadata.update([&](Superblock& s) {
    s.epoch = std::max(s.epoch, won.epoch);
    // What a member holds, even if its Configure did not reach us. Who promotes himself by force from outside does not.
    if (before.in_sync.contains(core_.config.self)) s.push(generation_of(before));
    s.push(generation_of(won));
    s.position = here;
  });
  if (stored != Errc::ok) {
    core_.fail_device();
    co_return false;
  }
  core_.position = here;
  co_return true;
}

// A primary that has ended its service made this node its successor.
Task<std::optional<Election::Win>> Election::succeed() {
  const VersionedRecord won = *core_.handed;
  core_.handed.reset();
  core_.proposing = true;
  co_await secondary_.expel();
  std::optional<Win> win;
  const bool good = core_.epoch() <= won.record.epoch && eligible(false);
  if (good && !core_.stopping.is_set() && co_await store({}, won.record)) win = Win{won, false, won.record.in_sync};
  core_.proposing = false;
  core_.primary_resigned = false;
  core_.last_heard = core_.now();
  co_return win;
}

}  // namespace resilver::replica
