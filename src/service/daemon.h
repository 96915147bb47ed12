// The program of one node: a replica over its storage, its log, and the door where `resilver volume` asks.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task_group.h"
#include "env/env.h"
#include "raid/array.h"
#include "replica/replica.h"
#include "service/config.h"
#include "service/control.h"

namespace resilver::service {

// What a node keeps its copy on; must outlive the daemon.
struct Storage {
  BlockDevice* device = nullptr;
  std::string label;                         // for messages
  raid::Array* array = nullptr;              // the same device, if it is an array
  std::function<std::string()> array_state;  // of the array, in one line
};

class Daemon final : private raid::ArrayListener {
 public:
  // All references must outlive the daemon.
  Daemon(Env& env, const VolumeConfig& config, replica::NodeId self, Storage storage);
  ~Daemon() override;

  // Reads the copy's metadata. Errors: one line that says what the device holds and what helps.
  Task<Status> open();

  // Serves clients and peers on `listener` and orders on `control` until `stop`. A primary with another copy in sync then
  // hands over first, for at most kHandOver. Once, after open().
  Task<void> run(Listener& listener, Listener& control, Event& stop);

  static constexpr Nanos kHandOver = 5 * kSecond;
  static constexpr std::size_t kMaxConnections = 16;  // of the control door; more are closed at once
  static constexpr Nanos kIdle = 2 * kSecond;         // then a silent one is ended

 private:
  Task<Status> refuse_device(Error error);
  Task<void> end_at(Event& stop);
  Task<void> watch_findings();
  Task<void> hand_over();
  Task<Status> demote(Nanos deadline);

  // ---- control ----
  Task<void> accept(Listener& control);
  Task<void> converse(std::unique_ptr<Connection> connection);
  Task<Answer> carry_out(Order order);
  struct Watch;  // over the asker of a verify
  Task<void> verify(bool repair, Connection& connection);
  Task<void> end_verify_when_gone(Connection& connection, Watch& watch);
  NodeStatus status() const;
  ArrayReport array_report() const;

  // ---- log ----
  void log_event(const replica::ReplicaEvent& event);
  void on_event(const raid::ArrayEvent& event) override;
  std::string name_of(replica::NodeId id) const;

  Env& env_;
  Scheduler& scheduler_;
  const VolumeConfig& config_;
  replica::NodeId self_;
  Storage storage_;
  std::unique_ptr<replica::Replica> replica_;
  Event ended_;  // the replica is to end
  std::vector<Connection*> connections_;
  TaskGroup orders_;
  std::map<replica::NodeId, Nanos> copy_began_;
  // What was found at the last look: logged when it is found again, and when it is over.
  std::map<std::pair<replica::Reason, replica::NodeId>, bool> found_;  // true: logged
};

}  // namespace resilver::service
