#include "service/recover.h"

#include <fmt/format.h>

#include <algorithm>

#include "async/task_group.h"
#include "service/view.h"

namespace resilver::service {
namespace {

using replica::CopyFacts;
using replica::Kinship;
using replica::kinship;
using replica::NodeId;
using replica::NodeSet;
using replica::Record;

constexpr Nanos kAskTimeout = 2 * kSecond;

const Record& known(const CopyFacts& facts) { return facts.super.known; }

// Whether `one` is to be taken rather than `other`: nothing where neither history goes on in the other.
std::optional<bool> newer(const CopyFacts& one, const CopyFacts& other) {
  const Kinship seen = kinship(known(other), known(one));
  if (seen == Kinship::newer) return true;
  if (seen == Kinship::stale) return false;
  if (seen != Kinship::same) return std::nullopt;
  if (one.super.suspect != other.super.suspect) return other.super.suspect;
  return one.position > other.position;
}

// The highest mark that anybody who answered knows of a copy.
std::uint64_t remembered(const Assessment& found, const replica::CopyId& copy) {
  std::uint64_t most = 0;
  for (const auto& facts : found.copies) {
    if (facts) most = std::max(most, facts->marks.of(copy));
  }
  return most;
}

void choose(Assessment& found) {
  std::vector<NodeId> forks;
  for (NodeId id = 0; id < found.copies.size(); ++id) {
    if (!found.copies[id] || !found.copies[id]->eligible) continue;
    const CopyFacts& facts = *found.copies[id];
    if (!found.newest) {
      found.newest = id;
      continue;
    }
    const auto better = newer(facts, *found.copies[*found.newest]);
    if (!better) forks.push_back(id);
    if (better == true) found.newest = id;
  }
  if (!forks.empty()) found.doubts.push_back("there are copies with histories of their own: somebody must choose");
}

void seek_doubts(const VolumeConfig& config, Assessment& found) {
  const CopyFacts& best = *found.copies[*found.newest];
  const Record& newest = known(best);
  if (best.super.suspect)
    found.doubts.push_back(
        fmt::format("{}'s storage was started by force, and may hold wrong blocks", config.nodes[*found.newest].name));
  NodeSet members_missing, silent;
  for (NodeId id = 0; id < newest.slots.size(); ++id) {
    const bool answered = std::ranges::any_of(
        found.copies, [&](const auto& facts) { return facts && facts->copy == newest.slots[id].copy; });
    if (newest.in_sync.contains(id) && !answered) members_missing.add(id);
  }
  for (NodeId id = 0; id < found.copies.size(); ++id) {
    if (!found.copies[id]) silent.add(id);
  }
  if (members_missing.bits != 0) {
    found.doubts.push_back(fmt::format("{} of the {} copies that were in sync did not answer, and may know more",
                                       members_missing.count(), newest.in_sync.count()));
  }
  if (newest.consulted.bits != 0 && silent.bits != 0)
    found.doubts.push_back("its history was begun by force, and not all configured copies answered");
  for (NodeId id = 0; id < found.copies.size(); ++id) {
    if (!found.copies[id]) continue;
    const Kinship seen = kinship(known(*found.copies[id]), newest);
    const bool knows_more = seen == Kinship::stale || seen == Kinship::fork || seen == Kinship::horizon;
    if (knows_more)
      found.doubts.push_back(fmt::format("{} knows a newer record, or another history", config.nodes[id].name));
  }
  if (remembered(found, best.copy) > best.marks.counter) {
    found.doubts.push_back(fmt::format("others remember {}'s copy further on than it is: an old image was put back",
                                       config.nodes[*found.newest].name));
  }
  if (found.arbiter && !found.arbiter->record.virgin() && found.arbiter->record.volume == config.id) {
    const Kinship seen = kinship(newest, found.arbiter->record);
    if (seen == Kinship::newer || seen == Kinship::fork)
      found.doubts.push_back("the arbiter keeps a record that no copy which answered knows");
  }
}

std::string members_of(const VolumeConfig& config, const Record& record) {
  std::string text;
  for (NodeId id = 0; id < record.slots.size(); ++id) {
    if (!record.in_sync.contains(id)) continue;
    std::string name = fmt::format("#{}", id);
    for (const NodeEntry& node : config.nodes) {
      if (replica::name_hash(node.name) == record.slots[id].name) name = node.name;
    }
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

}  // namespace

Task<Result<Answer>> Recovery::ask(NodeId node, Order order) {
  order.volume = config_.id;
  Question question(env_, config_.nodes[node].control);
  co_return co_await question.ask(std::move(order), env_.scheduler().now() + kAskTimeout);
}

Task<Assessment> Recovery::assess() {
  Assessment found;
  found.copies.assign(config_.nodes.size(), fail(Errc::unavailable));
  TaskGroup group(env_.scheduler());
  for (NodeId id = 0; id < config_.nodes.size(); ++id) {
    group.spawn([](Recovery& self, NodeId node, Assessment& into) -> Task<void> {
      Order order;
      order.verb = Verb::facts;
      auto answer = co_await self.ask(node, std::move(order));
      if (answer && answer->facts) {
        into.copies[node] = std::move(*answer->facts);
      } else {
        into.copies[node] = answer ? fail(Errc::bad_input, "an answer without facts") : std::unexpected(answer.error());
      }
    }(*this, id, found));
  }
  found.arbiter = co_await arbiter_.get(env_.scheduler().now() + kAskTimeout);
  co_await group.join();
  for (NodeId id = 0; id < found.copies.size(); ++id) {
    if (found.copies[id] && found.copies[id]->primary) found.live = id;
  }
  choose(found);
  if (!found.newest) co_return found;
  seek_doubts(config_, found);
  found.proven = found.doubts.empty();
  const Record& newest = known(*found.copies[*found.newest]);
  if (found.arbiter && found.proven && kinship(newest, found.arbiter->record) == Kinship::same)
    found.needless = "the arbiter's record is the newest, and so are the copies: they need nothing but to be started";
  co_return found;
}

Record Recovery::next_record(const Assessment& before, NodeId from, bool proven) {
  const CopyFacts& chosen = *before.copies[from];
  Record base = known(chosen);
  for (const auto& facts : before.copies) {
    if (facts) base.epoch = std::max(base.epoch, known(*facts).epoch);
  }
  if (before.arbiter && before.arbiter->record.volume == config_.id)
    base.epoch = std::max(base.epoch, before.arbiter->record.epoch);
  const auto nonce = [&] { return env_.random().next() | 1; };
  const NodeId id = base.find_copy(chosen.copy);
  replica::Reign reign;
  reign.nonce = nonce();
  reign.primary = id;
  reign.start = {chosen.position.reign, replica::kUnknownSeq};
  reign.start_mark = chosen.marks.counter;
  reign.seed = proven ? base.seed() : nonce();
  base.life = chosen.life;
  if (!proven) {
    const NodeSet covered = replica::covered_before(base);
    base.consulted = NodeSet::of(id);
    base.given_up.clear();
    for (const auto& facts : before.copies) {
      const NodeId other = facts ? base.find_copy(facts->copy) : replica::kNoNode;
      if (other == replica::kNoNode) continue;
      base.consulted.add(other);
      replica::give_up(base, known(*facts));
    }
    base.covered = base.consulted | covered;
  }
  const NodeSet set = proven ? base.in_sync | NodeSet::of(id) : NodeSet::of(id);
  return replica::next_reign(base, reign, set, nonce());
}

Task<Status> Recovery::promise_all(const Assessment& before, const replica::Promise& promise) {
  for (NodeId id = 0; id < before.copies.size(); ++id) {
    if (!before.copies[id]) continue;
    Order order;
    order.verb = Verb::prepare;
    order.promise = promise;
    const auto answer = co_await ask(id, std::move(order));
    if (answer) continue;
    static_cast<void>(co_await abort());
    co_return fail(answer.error().code, fmt::format("{}: {}", config_.nodes[id].name, answer.error().what));
  }
  co_return Status{};
}

// A primary that nobody reaches serves no longer than this.
Task<void> Recovery::outwait_leases(const Assessment& before) {
  constexpr Nanos kSlice = 100 * kMillisecond;
  Nanos lease = 0;
  for (const auto& facts : before.copies) {
    if (facts) lease = std::max(lease, static_cast<Nanos>(known(*facts).lease_ms) * kMillisecond);
  }
  const Nanos end = env_.scheduler().now() + std::max(lease * 5 / 4, config_.detect);
  while (env_.scheduler().now() < end && !(stop_ && stop_()))
    co_await sleep_for(env_.scheduler(), std::min(kSlice, end - env_.scheduler().now()));
}

Task<Status> Recovery::carry_out(const Assessment& before, NodeId from) {
  if (!before.arbiter) co_return fail(before.arbiter.error().code, "the arbiter does not answer: start it first");
  const replica::VersionedRecord& read = *before.arbiter;
  if (!read.record.virgin() && read.record.volume != config_.id)
    co_return fail(Errc::bad_input, "the arbiter keeps another volume's record");
  if (known(*before.copies[from]).find_copy(before.copies[from]->copy) == replica::kNoNode)
    co_return fail(Errc::bad_input, "the newest record that this copy knows does not list it");
  const bool proven = before.proven && before.newest == from;
  const replica::Promise promise{env_.random().next() | 1, read.key, read.version, read.record.nonce};
  if (Status promised = co_await promise_all(before, promise); !promised) co_return promised;
  co_await outwait_leases(before);
  // Nobody has learnt anything since: they promised.
  const Assessment now = co_await assess();
  bool same = true;
  for (NodeId id = 0; id < before.copies.size(); ++id) {
    const bool answers = before.copies[id] && now.copies[id];
    if (before.copies[id] && (!answers || known(*now.copies[id]) != known(*before.copies[id]))) same = false;
  }
  if (!same || now.live) {
    static_cast<void>(co_await abort());
    co_return fail(Errc::busy, "the copies changed meanwhile; look again");
  }
  if (stop_ && stop_()) {
    static_cast<void>(co_await abort());
    co_return fail(Errc::cancelled, "interrupted; nothing was changed");
  }
  const Nanos deadline = env_.scheduler().now() + kAskTimeout;
  const Record wanted = next_record(now, from, proven);
  for (;;) {
    const auto result = co_await arbiter_.compare_and_swap(read, wanted, env_.scheduler().now() + kAskTimeout);
    if (result && (result->swapped || result->now.record.nonce == wanted.nonce)) co_return Status{};
    if (result) co_return fail(Errc::busy, "somebody else changed the record: another recovery, or a primary");
    if (env_.scheduler().now() >= deadline)
      co_return fail(result.error().code,
                     "the arbiter does not answer: whether it has the new record is not known; look again");
    co_await sleep_for(env_.scheduler(), 100 * kMillisecond);
  }
}

Task<std::vector<Status>> Recovery::abort() {
  std::vector<Status> done(config_.nodes.size());
  for (NodeId id = 0; id < config_.nodes.size(); ++id) {
    Order order;
    order.verb = Verb::abort;
    const auto answer = co_await ask(id, std::move(order));
    if (!answer) done[id] = std::unexpected(answer.error());
  }
  co_return done;
}

std::string text_of(const VolumeConfig& config, const Assessment& found) {
  std::string text;
  for (NodeId id = 0; id < found.copies.size(); ++id) {
    const std::string& name = config.nodes[id].name;
    if (!found.copies[id]) {
      text += fmt::format("  {:<8} does not answer: {}\n", name, to_string(found.copies[id].error()));
      continue;
    }
    const CopyFacts& f = *found.copies[id];
    const char* state = f.super.inconsistent ? "half copied"
                        : f.fresh            ? "new, holds nothing"
                        : !f.eligible        ? "cannot be taken"
                                             : "whole";
    text +=
        fmt::format("  {:<8} copy {}  {}  epoch {}  reigns {}  position {}/{}  mark {}", name, short_text(f.copy),
                    state, known(f).epoch, known(f).reigns.size(), f.position.reign, f.position.seq, f.marks.counter);
    if (const std::uint64_t most = remembered(found, f.copy); most > f.marks.counter)
      text += fmt::format(" (others remember {})", most);
    if (!known(f).virgin()) text += fmt::format("  in sync with {}", members_of(config, known(f)));
    text += "\n";
    if (!found.newest || found.newest == id || !f.eligible) continue;
    if (kinship(known(f), known(*found.copies[*found.newest])) == Kinship::fork)
      text += fmt::format("  {:<8} has a history of its own, which {} has not\n", "", config.nodes[*found.newest].name);
  }
  if (!found.arbiter) {
    text += "  arbiter  does not answer: " + to_string(found.arbiter.error()) + "\n";
  } else if (found.arbiter->record.virgin()) {
    text += "  arbiter  keeps no record\n";
  } else {
    text += fmt::format("  arbiter  epoch {}  in sync {}{}\n", found.arbiter->record.epoch,
                        members_of(config, found.arbiter->record),
                        found.arbiter->record.volume == config.id ? "" : "  of another volume");
  }
  if (found.newest && found.proven) {
    text +=
        fmt::format("{} is the newest: all that could know better have answered\n", config.nodes[*found.newest].name);
  } else if (found.newest) {
    text += fmt::format("{} is the newest that answered; that it is the newest of all is not proven:\n",
                        config.nodes[*found.newest].name);
    for (const std::string& doubt : found.doubts) text += "  " + doubt + "\n";
  }
  return text;
}

}  // namespace resilver::service
