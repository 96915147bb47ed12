// `volume recover`: the volume goes on from the newest copy that there is, where the arbiter's record is lost, old, or
// of another history, or where the copies that it names are gone.
//
// What must never happen: a copy is taken for the newest that is not, silently; a recovery overtakes a primary, or
// another recovery. Rules: all configured copies are asked. The newest is *proven* only if every member of the newest
// record that any of them knows has answered, and knows nothing later (whoever wins a record stores it, and is one of
// them), and nobody remembers the chosen copy further on than it is; where a history was begun by force, only if all
// configured copies answered. Else somebody must choose, and the volume begins a new seed: copies that were asked
// follow it, whatever they had; others that come back keep what they have, and it is shown. Before the record is
// swapped, each copy that answered promises durably to follow nobody and to propose nothing, and a grace passes; the
// swap is against what was read before that, so that anybody else's makes it fail. No epoch is ever lowered.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "replica/arbiter.h"
#include "service/config.h"
#include "service/control.h"

namespace resilver::service {

struct Assessment {
  std::vector<Result<replica::CopyFacts>> copies;  // by place in the file
  Result<replica::VersionedRecord> arbiter = fail(Errc::unavailable);
  std::optional<replica::NodeId> live;    // who serves, or might: nothing is to be recovered
  std::optional<replica::NodeId> newest;  // of those that could be taken
  bool proven = false;
  std::vector<std::string> doubts;      // why it is not proven
  std::optional<std::string> needless;  // the arbiter's record is as new as the copies: what to do instead
};

class Recovery {
 public:
  // Once `stop` says so, what has not changed anything yet is called off.
  Recovery(Env& env, const VolumeConfig& config, std::function<bool()> stop = {})
      : env_(env), config_(config), arbiter_(env, config.arbiter), stop_(std::move(stop)) {}

  // Asks everybody. Nothing is changed.
  Task<Assessment> assess();
  // Goes on from the copy at `from`, as `before` was assessed: all promise, a grace passes, the record is swapped.
  // Errors: busy (a primary lives, or somebody else was quicker), unavailable, cancelled, and what a node said.
  Task<Status> carry_out(const Assessment& before, replica::NodeId from);
  // Calls off what copies promised.
  Task<std::vector<Status>> abort();

  // The record that carry_out() asks for; for tests.
  replica::Record next_record(const Assessment& before, replica::NodeId from, bool proven);

 private:
  Task<Result<Answer>> ask(replica::NodeId node, Order order);
  Task<Status> promise_all(const Assessment& before, const replica::Promise& promise);
  Task<void> outwait_leases(const Assessment& before);

  Env& env_;
  const VolumeConfig& config_;
  replica::ArbiterClient arbiter_;
  std::function<bool()> stop_;
};

// What was found, for people: a line for each copy, and the doubts.
std::string text_of(const VolumeConfig& config, const Assessment& found);

}  // namespace resilver::service
