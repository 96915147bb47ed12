// The serving node's side of client sessions.
//
// What must never happen: a request of an ended session is carried out after the new session's; two attachments write
// in turn. Rule: a volume has one session at a time, of one attachment. A new attach of the same or a higher number
// first ends the older session and waits until its last request has ended; the number is given by the primary, above
// all before, and durable on all members before `attached`; a lower number is fenced. Each request carries it too.
// Clients that only read are beside it, at most kMaxReaders.
#pragma once

#include <cstdint>

#include "async/sync.h"
#include "async/task_group.h"
#include "replica/core.h"
#include "replica/primary.h"

namespace resilver::replica {

class ClientDoor {
 public:
  explicit ClientDoor(Core& core) : core_(core), attaching_(core.scheduler), free_(core.scheduler) {}

  static constexpr std::size_t kMaxReaders = 32;

  // Serves a connection whose first message was `hello`, until it ends.
  Task<void> serve(Session& session, ClientHello hello);

  // Who carries requests out; null: redirect. A stand-alone node needs none and is opened.
  void open(Primary* primary) {
    primary_ = primary;
    open_ = true;
  }
  // Ends the session and waits until nothing is under way; new ones are redirected.
  Task<void> shut();

 private:
  bool outdated(const ClientHello& hello) const noexcept;
  Task<Result<std::uint64_t>> admit(const ClientHello& hello, Session& session);
  Task<void> end_current();
  Task<void> requests(Session& session, std::uint64_t attachment, bool read_only);
  Task<void> carry_out(Session& session, Request request, Buffer data, std::size_t& running);
  Task<Errc> execute(const Request& request, Buffer data, const Event& abandoned);
  bool serving() const { return open_ && (primary_ == nullptr ? core_.stand_alone() : primary_->serving()); }

  struct Reading : ListHook {
    explicit Reading(Session& s) : session(s) {}
    Session& session;
  };
  static constexpr std::size_t kSlack = 16;

  Core& core_;
  Primary* primary_ = nullptr;
  bool open_ = false;
  Mutex attaching_;
  Event free_;
  Session* current_ = nullptr;
  IntrusiveList<Reading> reading_;
  std::size_t readers_ = 0;
  std::size_t calls_ = 0;  // into primary_, other than by the current session
};

}  // namespace resilver::replica
