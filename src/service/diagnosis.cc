#include "service/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "base/units.h"

namespace resilver::service {
namespace {

using replica::Finding;
using replica::NodeId;
using replica::Reason;

// What the words of one reason are made of.
struct Words {
  const VolumeConfig& config;
  NodeId at;
  const Finding& finding;

  std::string self() const { return name_of(config, at); }
  std::string other() const {
    return finding.node < config.nodes.size() ? config.nodes[finding.node].name : "another node";
  }
  // Both, in the order of the file, whoever tells.
  std::string sides() const { return finding.node < at ? other() + "|" + self() : self() + "|" + other(); }
  // Whom it is about: the other, where one is named.
  std::string about() const { return finding.node < config.nodes.size() ? other() : self(); }
  std::string detail() const { return finding.detail.empty() ? "" : " (" + finding.detail + ")"; }

  std::string volume(const std::string& verb, const std::string& more = {}) const {
    return fmt::format("resilver volume {} --config {}{}{}", verb, config.file, more.empty() ? "" : " ", more);
  }
  std::string start(const std::string& node) const {
    return fmt::format("resilver node --config {} --name {}", config.file, node);
  }
  std::string start_arbiter() const { return fmt::format("resilver arbiter --state FILE --listen {}", config.arbiter); }
  std::string storage() const {
    const NodeId node = finding.node < config.nodes.size() ? finding.node : at;
    const NodeEntry& entry = config.nodes[node];
    return entry.array.empty() ? entry.device : entry.array.front();
  }
};

struct Said {
  std::string text, help, command;
};

Said say_place(const Words& w) {
  switch (w.finding.reason) {
    case Reason::starting:
      return {w.self() + " has just started, or waits a moment for those who may go first", "look again",
              w.volume("status")};
    case Reason::no_primary:
      return {w.self() + " hears no primary, and its copy is out of date: it waits for one that is in sync",
              "start the copies that are in sync; if they are gone for good", w.volume("recover")};
    case Reason::waits_for_copies:
      return {w.self() + " would serve, but some copies that may have more do not answer" + w.detail(),
              "start them; if they are gone for good", w.volume("recover")};
    case Reason::newer_elsewhere:
      return {fmt::format(
                  "{} knows a record that is newer than the arbiter's, or of another history: {} does not go on from "
                  "an older one",
                  w.other(), w.self()),
              "was the arbiter's file restored? If its newest is not to be had", w.volume("recover")};
    case Reason::new_copy:
      return {w.self() + " holds nothing yet: it waits for a primary to copy from",
              "start the copies that are in sync, and see what they say", w.volume("status")};
    case Reason::half_copied:
      return {"a copy into " + w.self() + " broke off: it waits for a primary to go on from",
              "start the copies that are in sync, and see what they say", w.volume("status")};
    case Reason::fork:
      return {fmt::format("{} and {} have histories of their own: nothing is copied from one to the other", w.self(),
                          w.other()),
              "choose whose writes to give up", w.volume("resolve", "--discard " + w.sides())};
    case Reason::horizon:
      return {w.about() + " was away for so long that nobody can tell whether its history is this one",
              "give its copy up and bring it up to date", w.volume("resolve", "--discard " + w.about())};
    case Reason::lost_writes:
      return {fmt::format(
                  "acknowledged writes that one of {} and {} has are missing on the other: an old image was put back, "
                  "or an old record",
                  w.self(), w.other()),
              "choose whose writes to give up", w.volume("resolve", "--discard " + w.sides())};
    case Reason::went_back:
      return {w.about() +
                  " is older than others remember it: an old image was put back. It never goes first, and is compared "
                  "block by block",
              "start the copies that are newer; if they are gone for good", w.volume("recover")};
    case Reason::second_life:
      return {fmt::format("two processes of one copy: {} and another one{}", w.about(), w.detail()),
              "stop the one that should not be, and start the other again; if it does not go on then",
              w.volume("promote", w.about() + " --force")};
    case Reason::promised:
      return {w.self() + " waits for a recovery that was begun and has not ended", "run it again, or call it off",
              w.volume("recover", "--abort")};
    case Reason::suspect:
      return {w.about() + "'s storage was started by force: its copy is compared block by block, and never goes first",
              "start the other copies; if they are gone for good", w.volume("recover")};
    default: return {};
  }
}

Said say_arbiter(const Words& w) {
  switch (w.finding.reason) {
    case Reason::arbiter_away:
      return {"the arbiter does not answer: what serves goes on, and nothing can change", "start it", w.start_arbiter()};
    case Reason::no_record:
      return {"the arbiter keeps no record of this volume" + w.detail() + ": another file, or a new machine",
              "start it with the file that it had; if that is gone", w.volume("recover")};
    case Reason::older_record:
      return {"the arbiter's record is older than what " + w.self() + " knows" + w.detail() + ": its file was restored",
              "start it with its newest file; if that is gone", w.volume("recover")};
    case Reason::forked_record:
      return {"the arbiter's record is of another history than " + w.self() + "'s copy" + w.detail(),
              "start its primary, and choose a side: resolve; if that one is gone for good", w.volume("recover")};
    case Reason::other_record:
      return {"the arbiter keeps the record of another volume" + w.detail(),
              "each volume needs an arbiter, address and state file of its own: correct `arbiter` in the file, or "
              "start it with "
              "the right one",
              w.start_arbiter()};
    case Reason::two_arbiters:
      return {"two arbiters answer in turn: a copied file, or two behind one address",
              "stop both, and start the one with the newer record again", w.start_arbiter()};
    case Reason::arbiter_full:
      return {"the arbiter cannot write its record" + w.detail(),
              "make room on the file system of its state file, or make that writable; it goes on by itself", ""};
    case Reason::frozen:
      return {"the arbiter's record went back" + w.detail() +
                  ": the set of members stays as it is until the record is put back, "
                  "which happens by itself when all members answer",
              "start those that do not; if one is gone for good, stop the others, start them again, then",
              w.volume("recover")};
    default: return {};
  }
}

Said say_storage(const Words& w) {
  const std::string where = w.storage();
  switch (w.finding.reason) {
    case Reason::device_failed:
      return {fmt::format("{}: {} failed; this copy takes no part any more", w.self(), where),
              "stop the node, replace the device (what is on it is given up), start it again",
              w.volume("create", "--node " + w.self())};
    case Reason::slow_storage:
      return {fmt::format(
                  "{}: {} let a request wait for longer than congestion_timeout; it takes part again when it answers",
                  w.self(), where),
              "look for what keeps it busy", w.volume("status")};
    case Reason::no_space:
      return {fmt::format("{}: no space left for {}", w.self(), where),
              "make room on its file system: df " + where + "; it goes on by itself", ""};
    case Reason::read_only_storage:
      return {fmt::format("{}: the file system of {} is read-only", w.self(), where),
              "make it writable (dmesg tells why it is not); it goes on by itself", ""};
    case Reason::damaged_metadata:
      return {fmt::format("{}: metadata on {} was damaged{}; mended, what could not be is compared", w.self(), where,
                          w.detail()),
              "a device that does so is about to fail; compare the copies", w.volume("verify")};
    case Reason::few_intent_bits:
      return {fmt::format("{}: {} had little room for intent bits{}: a catch-up copies more than it must", w.self(),
                          where, w.detail()),
              "nothing must be done; a larger device has more", w.volume("status")};
    case Reason::array_failed:
      return {fmt::format("{}: the array {} failed{}", w.self(), where, w.detail()),
              "stop the node and see what is left", "resilver status " + where};
    case Reason::array_degraded:
      return {fmt::format("{}: its array lacks a disk{}", w.self(), w.detail()),
              "stop the node, add one, start it again", fmt::format("resilver add {} FILE", where)};
    default: return {};
  }
}

Said say_peer(const Words& w) {
  const std::string other = w.about();
  switch (w.finding.reason) {
    case Reason::too_few_copies:
      return {"too few copies are in sync for a write to be acknowledged", "start the others", w.volume("status")};
    case Reason::handing_over: return {w.self() + " hands over", "look again", w.volume("status")};
    case Reason::no_lease:
      return {"a member does not answer: until it has left the set, or answers, requests wait", "look again",
              w.volume("status")};
    case Reason::unreachable: return {other + " does not answer", "start " + other, w.start(other)};
    case Reason::left_slow:
      return {other + " lagged, or left a question open, for longer than congestion_timeout",
              "look for what keeps it busy", w.volume("status")};
    case Reason::left_disk:
      return {other + " takes no part: its device failed, is slow or full", "see what it says itself",
              w.volume("status")};
    case Reason::held_back:
      return {other + " keeps leaving and returning: it is held back for a while, longer each time" + w.detail(),
              "look at its link and its disk", w.volume("status")};
    case Reason::being_copied:
      return {other + " is brought up to date" + w.detail(), "wait for it", w.volume("status")};
    case Reason::too_many_lost:
      return {
          fmt::format("{} cannot be brought up to date: {} has more than {} blocks that no copy can read", other,
                      w.self(), w.finding.detail),
          "write those blocks anew, or replace " + w.self() + "'s disk and restore a backup; tried again each minute",
          ""};
    case Reason::refuses:
      return {fmt::format("{} takes no session from {}{}", other, w.self(), w.detail()), "see what it says itself",
              w.volume("status")};
    case Reason::other_volume:
      return {fmt::format("at {}'s address another volume is served{}: nothing is copied", other, w.detail()),
              "correct the address of " + other + " in " + w.config.file + "; a copy of another file has its id, too",
              ""};
    case Reason::not_listed:
      return {"the volume has a member that " + w.config.file + " does not list" + w.detail(),
              "add its [[node]] to the file, as the others have it, and start the node again", w.start(w.self())};
    case Reason::files_differ:
      return {fmt::format("{}'s file is not the same as {}'s: {}", other, w.self(), w.finding.detail),
              "make them the same, then start the nodes again one by one", w.start(other)};
    default: return {};
  }
}

}  // namespace

std::string to_do(const Told& told) { return told.command.empty() ? told.help : told.help + ": " + told.command; }

Told tell(const VolumeConfig& config, NodeId at, const Finding& finding) {
  const Words words{config, at, finding};
  Said said = say_place(words);
  if (said.text.empty()) said = say_arbiter(words);
  if (said.text.empty()) said = say_storage(words);
  if (said.text.empty()) said = say_peer(words);
  const bool waits = finding.reason == Reason::newer_elsewhere;
  return {finding.reason, waits ? words.self() : words.about(), std::move(said.text), std::move(said.help),
          std::move(said.command)};
}

namespace {

// Whether a node waits for a primary, and the one that there is says why it does not come.
bool explained(const VolumeView& view, NodeId at, Reason reason) {
  const bool waits = reason == Reason::starting || reason == Reason::no_primary || reason == Reason::new_copy ||
                     reason == Reason::half_copied;
  return waits && view.has_primary() && at != view.authority &&
         std::ranges::any_of(view.word()->findings, [&](const Finding& f) { return f.node == at; });
}

}  // namespace

std::vector<Told> diagnose(const VolumeConfig& config, const VolumeView& view) {
  std::vector<Told> all;
  std::set<std::tuple<Reason, NodeId>> seen;  // by code and whom it is about
  // Of two sides, the one that does not serve.
  const auto subject = [&](NodeId at, const Finding& finding) {
    const bool sides = finding.reason == Reason::fork || finding.reason == Reason::lost_writes;
    if (finding.node == replica::kNoNode || finding.reason == Reason::newer_elsewhere) return at;
    return sides && finding.node == view.authority ? at : finding.node;
  };
  const auto add = [&](NodeId at, const Finding& finding) {
    const bool of_arbiter = !say_arbiter({config, at, finding}).text.empty();
    const NodeId about = of_arbiter ? replica::kNoNode : subject(at, finding);
    if (!seen.emplace(finding.reason, about).second) return;
    all.push_back(tell(config, at, finding));
    all.back().node = name_of(config, of_arbiter ? at : about);
  };
  const auto add_all = [&](NodeId at) {
    for (const Finding& finding : view.nodes[at]->replica.findings) {
      if (!explained(view, at, finding.reason)) add(at, finding);
    }
  };
  if (view.authority) add_all(*view.authority);
  for (NodeId id = 0; id < view.nodes.size(); ++id) {
    if (!view.nodes[id]) {
      add(view.authority.value_or(id), {Reason::unreachable, id, 0, 0, {}});
    } else if (id != view.authority) {
      add_all(id);
    }
  }
  if (view.arbiter == false && view.authority) add(*view.authority, {Reason::arbiter_away, replica::kNoNode, 0, 0, {}});
  return all;
}

}  // namespace resilver::service
