#include "replica/election.h"

#include <fmt/format.h>

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
  const auto now = co_await core_.ask(arbiter_, core_.now() + core_.lease());
  if (!now && !core_.other_history)
    core_.waits(std::nullopt);  // but for the arbiter: what was found before may not be so
  if (!now || core_.stopping.is_set() || core_.device_failed) co_return std::nullopt;
  if (co_await promised(*now)) co_return std::nullopt;
  if (!may_look(*now) && !core_.force_promotion) {
    core_.primary_resigned = false;
    co_return std::nullopt;
  }
  if (core_.force_promotion) co_return co_await force(*now);
  const bool virgin = now->record.virgin();
  if (const auto reason = why_not(now->record)) {
    if (!core_.other_history) core_.waits(*reason);  // else the primary has told more
    core_.primary_resigned = false;
    next_ask_ = core_.now() + core_.grace();
    co_return std::nullopt;
  }
  const bool own_record = virgin || now->record.primary == core_.self;
  const Nanos quiet_since = std::max(core_.last_heard, started_);
  if (!own_record && !core_.primary_resigned && core_.now() < quiet_since + core_.grace()) {
    core_.waits(Reason::starting);
    next_ask_ = quiet_since + core_.grace();
    co_return std::nullopt;
  }
  co_return co_await propose(*now);
}

// Whether the record is one that this copy's history goes on in. If not, nobody is obeyed and nothing proposed: told
// instead.
bool Election::may_look(const VersionedRecord& now) {
  const Record& record = now.record;
  if (!record.virgin() && record.volume != core_.config.volume) {
    core_.waits(Reason::other_record, kNoNode, fmt::format("volume {}", short_text(record.volume)));
    return false;
  }
  switch (kinship(core_.known(), record)) {
    case Kinship::same:
    case Kinship::newer: break;
    case Kinship::stale:
      if (planted(PlantedBug::older_record_obeyed)) break;
      core_.waits(record.virgin() ? Reason::no_record : Reason::older_record, kNoNode,
                  fmt::format("epoch {}, and this copy knows {}", record.epoch, core_.epoch()));
      return false;
    case Kinship::horizon: core_.waits(Reason::horizon); return false;
    case Kinship::fork:
      if (planted(PlantedBug::fork_obeyed)) break;
      if (core_.other_history) return false;  // the primary has told more
      core_.waits(Reason::forked_record, kNoNode,
                  fmt::format("epoch {}, and this copy knows {} of another history", record.epoch, core_.epoch()));
      return false;
  }
  core_.number(record);
  core_.primary = record.primary;
  core_.in_sync = record.in_sync;
  return true;
}

// A recovery is under way: its swap must not meet ours. Void once the record is another one than it read.
Task<bool> Election::promised(const VersionedRecord& now) {
  const Promise promise = core_.metadata.now().promise;
  if (promise.run == 0) co_return false;
  const bool as_read = promise.key == now.key && promise.version == now.version && promise.nonce == now.record.nonce;
  if (as_read) {
    core_.waits(Reason::promised);
    co_return true;
  }
  const Errc stored = co_await core_.metadata.update([](Superblock& s) { s.promise = {}; });
  core_.storage_failed(stored);
  co_return stored != Errc::ok;
}

bool Election::eligible(bool virgin) const {
  const Superblock& s = core_.metadata.now();
  const bool consistent = !s.inconsistent || planted(PlantedBug::inconsistent_promoted);
  return core_.storage_usable() && consistent && !s.suspect && !s.usurped && s.fresh() == virgin &&
         (!virgin || s.founder);
}

// Whether somebody took this very copy, whatever it has: the record was begun anew with it, and it has not yet been
// primary since.
bool Election::chosen(const Record& record) const {
  const bool mine = record.primary == core_.self && record.consulted.contains(core_.self);
  return mine && core_.known().find(record.reign().nonce) == nullptr;
}

// Whether another process of this very copy has become the primary: on a clone of the device.
bool Election::usurped(const Record& record) const {
  const bool mine = record.primary == core_.self && record.copy_of(core_.self) == core_.metadata.now().copy;
  return mine && record.life != 0 && !core_.metadata.now().lived(record.life) &&
         kinship(core_.known(), record) != Kinship::same && !planted(PlantedBug::second_life_accepted);
}

// Why this copy is not one that may go first; nothing: it may.
std::optional<Reason> Election::why_not(const Record& record) const {
  const Superblock& s = core_.metadata.now();
  const bool virgin = record.virgin();
  if (s.inconsistent && !planted(PlantedBug::inconsistent_promoted)) return Reason::half_copied;
  if (s.fresh()) return virgin && s.founder ? std::nullopt : std::optional(Reason::new_copy);
  if (usurped(record) || (s.usurped && !chosen(record))) return Reason::second_life;
  if (s.suspect && !chosen(record)) return Reason::suspect;
  const bool named = !virgin && record.in_sync.contains(core_.self) && record.copy_of(core_.self) == s.copy;
  if (!named) return Reason::no_primary;
  if (core_.storage_usable()) return std::nullopt;
  if (core_.storage_trouble == Errc::no_space) return Reason::no_space;
  return core_.storage_trouble == Errc::read_only ? Reason::read_only_storage : Reason::slow_storage;
}

// The operator takes this copy, whatever the others have: the set is this node alone, and a new seed begins.
// Half-copied, new and failed ones are refused even so (rule 7), and a node that hears a primary: that one would have
// to be stopped first.
Task<std::optional<Election::Win>> Election::force(VersionedRecord now) {
  const Nanos quiet = core_.last_heard + core_.grace();
  const Superblock& s = core_.metadata.now();
  core_.force_refused = Errc::ok;
  const bool half = s.inconsistent && !planted(PlantedBug::inconsistent_promoted);
  if (!core_.storage_usable() || half || s.fresh()) {
    core_.force_refused = Errc::unavailable;
  } else if (!now.record.virgin() && now.record.volume != core_.config.volume) {
    core_.force_refused = Errc::bad_input;
  } else if (secondary_.active() && !core_.other_history && core_.now() < core_.last_heard + core_.lease()) {
    core_.force_refused = Errc::busy;
  }
  if (core_.force_refused != Errc::ok) {
    core_.force_promotion = false;
    core_.changed.wake_all();
    co_return std::nullopt;
  }
  // A member may have granted a lease just before; a node outside the set has granted none.
  if (core_.known().in_sync.contains(core_.self) && core_.now() < quiet) {
    next_ask_ = quiet;
    co_return std::nullopt;
  }
  Record base = core_.known();
  base.epoch = std::max(base.epoch, now.record.epoch);
  auto win = co_await swap(now, wanted(base, NodeSet::of(core_.self), {}, true), NodeSet::of(core_.self));
  if (win) core_.force_promotion = false;
  co_return win;
}

PromoteAnswer Election::answer(const PromoteQuery& query) const {
  PromoteAnswer a;
  const Superblock& s = core_.metadata.now();
  a.volume = core_.config.volume;
  a.name = core_.name;
  a.copy = s.copy;
  a.fresh = s.fresh();
  a.inconsistent = s.inconsistent;
  a.eligible = core_.storage_usable() && !s.inconsistent && !s.suspect && !s.usurped && core_.role != Role::primary;
  const bool heard = core_.now() < core_.last_heard + core_.lease();
  a.hears_primary = core_.role == Role::primary || (secondary_.active() && !core_.primary_resigned && heard);
  a.position = core_.position;
  a.head = s.known.head();
  a.seed = s.known.seed();
  a.goes_on = kinship(query.head, query.seed, s.known) == Kinship::newer;
  a.mark = core_.mark_of(query.copy);
  if (query.copy == s.copy) a.other_life = core_.life;
  if (secondary_.active() && heard && query.copy == core_.heard_copy && query.life != core_.heard_life)
    a.other_life = core_.heard_life;
  return a;
}

Task<std::optional<Election::Win>> Election::propose(VersionedRecord now) {
  const bool virgin = now.record.virgin();
  const Nanos heard = core_.last_heard;
  if (!co_await core_.disk_answers()) co_return std::nullopt;
  const Answers answers = co_await query(now.record);
  if (answers.heard.bits != 0) another_lives_ = answers.another_lives;
  if (core_.stopping.is_set() || !core_.storage_usable() || core_.last_heard != heard) co_return std::nullopt;
  if (const auto veto = forbidden(now, answers)) {
    core_.waits(veto->reason, veto->reason == Reason::newer_elsewhere ? veto->by : kNoNode);
    co_return std::nullopt;  // the record is read again before the next round
  }
  if (another_lives_) {
    core_.waits(Reason::second_life);
    co_return std::nullopt;
  }
  NodeSet others;
  for (const Peer& peer : core_.peers) {
    if (virgin || now.record.in_sync.contains(peer.id)) others.add(peer.id);
  }
  if (core_.primary_resigned) others.remove(now.record.primary);  // its disk is gone: it cannot be one of them

  // Our own record after a restart: the others may be starting too; give them a grace before they are left behind.
  const bool own_record = virgin || now.record.primary == core_.self;
  const bool all = (others - answers.answered).bits == 0;
  const bool patient = own_record && core_.now() < started_ + core_.grace() && !all;
  const bool others_first = (answers.hears_primary && !own_record) || answers.better;
  if (patient || (others_first && rounds_ < 3) || waits_for_all(now, answers)) {
    core_.waits(patient || others_first ? Reason::starting : Reason::waits_for_copies);
    if (!patient) ++rounds_;
    next_ask_ = core_.now() + (patient ? core_.beacon() : core_.grace() / 4);
    co_return std::nullopt;
  }
  NodeSet present = answers.usable;
  present.add(core_.self);
  NodeSet members = present;
  if (!virgin && now.record.ack == AckMode::quorum) {
    const unsigned majority = now.record.configured() / 2 + 1, in_sync = now.record.in_sync.count();
    const unsigned needed = in_sync >= majority ? in_sync - majority + 1 : 1;
    if (answers.behind.count() + 1 < needed) {
      core_.waits(Reason::waits_for_copies, kNoNode,
                  fmt::format("{} of the {} copies that are needed", answers.behind.count() + 1, needed));
      co_return std::nullopt;
    }
    members = now.record.in_sync;
  }
  rounds_ = 0;
  if (!co_await note(answers.forks)) co_return std::nullopt;
  co_return co_await swap(now, wanted(now.record, members, answers, false), present);
}

// `after_arbiter_restart = "wait"`: an arbiter that is not known to be the one of before may have been restored.
bool Election::waits_for_all(const VersionedRecord& now, const Answers& answers) const {
  if (!core_.config.wait_after_arbiter_restart || now.record.virgin()) return false;
  NodeSet all = answers.answered;
  all.add(core_.self);
  return now.key != core_.metadata.now().arbiter && (now.record.in_sync - all).bits != 0;
}

// Members are waited for, under `quorum` also far away ones, since nothing goes on without them. The primary was silent
// for a grace: it is asked as well, since it may be back, but the others do not wait for it (a killed process may even
// seem to listen for a while); nor do they for copies outside the set, who may know better.
Task<Election::Answers> Election::query(const Record& record) {
  const bool virgin = record.virgin();
  const Nanos patience = record.ack == AckMode::quorum && !virgin ? core_.lease() / 2 : core_.lease() / 4;
  Answers answers;
  TaskGroup group(core_.scheduler);
  for (const Peer& peer : core_.peers) {
    const bool member = virgin || record.in_sync.contains(peer.id);
    if (core_.primary_resigned && peer.id == record.primary) continue;
    const bool waited_for = member && (virgin || peer.id != record.primary);
    const Nanos deadline = core_.now() + (waited_for ? patience : std::min(patience, core_.beacon()));
    if (!member && planted(PlantedBug::only_members_asked)) continue;
    group.spawn(query_one(peer, record, deadline, answers));
  }
  co_await group.join();
  co_return answers;
}

Task<void> Election::query_one(const Peer& peer, const Record& record, Nanos deadline, Answers& answers) {
  auto connection = co_await core_.env.network().connect(peer.address, deadline);
  if (!connection) co_return;
  OpenSession session(core_, std::move(*connection));
  const PromoteQuery question{core_.config.volume, core_.name,    core_.metadata.now().copy,
                              core_.life,          record.head(), record.seed()};
  if (!co_await session->send_now(encode(core_.epoch(), question), deadline)) co_return;
  auto received = co_await session->receive(deadline);
  session->close();
  if (!received) co_return;
  const auto* a = std::get_if<PromoteAnswer>(&received->body);
  if (a == nullptr) co_return;
  if (a->volume != core_.config.volume) {
    core_.find(Reason::other_volume, peer.id, fmt::format("volume {}", short_text(a->volume)));
  } else if (a->name == peer.name) {
    weigh(peer, record, *a, answers);
  }
}

void Election::weigh(const Peer& peer, const Record& record, const PromoteAnswer& a, Answers& answers) const {
  const bool virgin = record.virgin();
  answers.heard.add(peer.id);
  const auto forbid = [&](Reason reason) {
    const auto [at, first] = answers.vetoes.try_emplace(peer.id, reason);
    if (!first) at->second = std::min(at->second, reason);
  };
  const bool apart = kinship(a.head, a.seed, record) == Kinship::fork && !planted(PlantedBug::veto_ignored) &&
                     !gives_up(record, record.find_copy(a.copy), a.head, a.inconsistent);
  if (apart && !stands_aside(record, a, answers)) forbid(virgin ? Reason::no_record : Reason::newer_elsewhere);
  if (core_.went_back(a.mark) && !planted(PlantedBug::marks_ignored)) forbid(Reason::went_back);
  if (a.other_life != 0 && a.other_life != core_.life && !planted(PlantedBug::second_life_accepted)) {
    answers.another_lives = true;
    forbid(Reason::second_life);
  }
  if (!virgin && !record.in_sync.contains(peer.id)) return;
  answers.answered.add(peer.id);
  if (apart) return;
  answers.copies[peer.id] = a.copy;
  answers.hears_primary = answers.hears_primary || a.hears_primary;
  if (!a.eligible || a.fresh != virgin || (virgin && !core_.config.blank_devices)) return;
  if (!virgin && record.copy_of(peer.id) != a.copy) return;  // another disk in a member's place
  answers.usable.add(peer.id);
  if (virgin) return;
  bool more = a.position > core_.position, less = a.position < core_.position;
  if (planted(PlantedBug::quorum_promotes_the_shorter)) std::swap(more, less);
  if (!more) answers.behind.add(peer.id);
  if (more || (!less && peer.id < core_.self)) answers.better = true;
}

// What forbids to go on, by what was heard now, or last from those who do not answer any more. Of several the first in the
// list of reasons, so that what is told does not change by chance. That somebody knows more than the arbiter is only told
// when its record was read once more: one that is changed just now is no restored one.
std::optional<Election::Veto> Election::forbidden(const VersionedRecord& now, const Answers& answers) {
  const bool same = vetoed_nonce_ == now.record.nonce && !vetoes_.empty();
  std::map<NodeId, Reason> all = answers.vetoes;
  for (const auto& [by, reason] : vetoes_) {
    if (same && !answers.heard.contains(by) && reason != Reason::second_life) all.emplace(by, reason);
  }
  vetoes_ = std::move(all);
  vetoed_nonce_ = now.record.nonce;
  if (vetoes_.empty()) return std::nullopt;
  const auto first = std::ranges::min_element(vetoes_, {}, [](const auto& veto) { return veto.second; });
  if (first->second == Reason::newer_elsewhere && !same) return Veto{Reason::starting};
  return Veto{first->second, first->first};
}

// Whether a copy of another history leaves the way to this one: they have parted before the reign under way, which this
// copy has followed, or was given by the side that lost.
bool Election::stands_aside(const Record& record, const PromoteAnswer& a, Answers& answers) const {
  const ForkNote fork{a.copy, a.head};
  if (core_.metadata.now().noted(fork)) return true;
  const bool mine = core_.known().head().reign == record.reign().nonce || record.primary == core_.self;
  if (record.virgin() || a.goes_on || !mine) return false;
  answers.forks.push_back(fork);
  return true;
}

Task<bool> Election::note(const std::vector<ForkNote>& forks) {
  if (forks.empty()) co_return true;
  const Errc stored = co_await core_.metadata.update([&](Superblock& s) {
    for (const ForkNote& fork : forks) s.note_fork(fork);
  });
  core_.storage_failed(stored);
  co_return stored == Errc::ok;
}

// The record of the reign that begins.
Record Election::wanted(const Record& now, NodeSet members, const Answers& answers, bool forced) {
  const bool virgin = now.virgin();
  Record next = now;
  if (virgin) {
    next = Record{};
    next.volume = core_.config.volume;
    next.ack = core_.config.ack;
  }
  list_node(next, core_.self, core_.name, core_.metadata.now().copy);
  for (const Peer& peer : core_.peers) {
    const auto copy = answers.copies.find(peer.id);
    if (virgin) list_node(next, peer.id, peer.name, copy == answers.copies.end() ? CopyId{} : copy->second);
  }
  next.lease_ms = core_.config.lease_ms;
  next.life = core_.life;
  Reign reign;
  reign.nonce = core_.new_nonce();
  reign.primary = core_.self;
  const bool exact = core_.recent.known() || core_.marks.now().exact;
  reign.start = {core_.position.reign, exact ? core_.position.seq : kUnknownSeq};
  reign.start_mark = core_.marks.now().counter;
  reign.seed = virgin || forced ? core_.new_nonce() : now.seed();
  if (forced) {
    next.consulted = NodeSet::of(core_.self);
    next.given_up.clear();
    // What it knows in sync has nothing acknowledged beyond it only if it was one of them.
    const bool member = now.in_sync.contains(core_.self) && now.copy_of(core_.self) == core_.metadata.now().copy;
    next.covered = (member && now.ack == AckMode::durable ? now.in_sync : next.consulted) | covered_before(now);
  }
  return next_reign(next, reign, members, core_.new_nonce());
}

Task<std::optional<Election::Win>> Election::swap(VersionedRecord now, Record next, NodeSet heard) {
  const bool virgin = now.record.virgin();
  core_.proposing = true;
  if (!planted(PlantedBug::no_fencing)) co_await secondary_.expel();
  const auto outcome = co_await core_.swap(arbiter_, std::move(now), next, core_.stopping);
  std::optional<Win> win;
  if (outcome.won) win = Win{outcome.now, virgin, heard};
  if (core_.stopping.is_set() || (win && !co_await store(win->record))) win.reset();
  core_.proposing = false;
  core_.primary_resigned = false;
  core_.last_heard = core_.now();
  co_return win;
}

// The record is durable before it is obeyed, and so is how much this copy has: by definition all, in the new reign.
Task<bool> Election::store(const VersionedRecord& won) {
  const Position here{won.record.epoch, core_.position.seq};
  Errc stored = Errc::ok, marked = Errc::ok;
  TaskGroup both(core_.scheduler);
  both.spawn([](Core& core, const VersionedRecord& record, Errc& status) -> Task<void> {
    status = co_await core.metadata.update([&](Superblock& s) {
      s.follow(record.record);
      s.suspect = s.usurped = false;
      s.arbiter = record.key;
    });
  }(core_, won, stored));
  both.spawn([](Core& core, Position position, bool exact, Errc& status) -> Task<void> {
    status = co_await core.marks.update([&](Marks& m) {
      m.position = position;
      m.exact = exact;
    });
  }(core_, here, won.record.ack == AckMode::quorum, marked));
  co_await both.join();
  if (stored != Errc::ok || marked != Errc::ok) {
    core_.storage_failed(stored != Errc::ok ? stored : marked);
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
  const Kinship seen = kinship(core_.known(), won.record);
  const bool good = (seen == Kinship::newer || seen == Kinship::same) && eligible(false);
  if (good && !core_.stopping.is_set() && co_await store(won)) win = Win{won, false, won.record.in_sync};
  core_.proposing = false;
  core_.primary_resigned = false;
  core_.last_heard = core_.now();
  co_return win;
}

}  // namespace resilver::replica
