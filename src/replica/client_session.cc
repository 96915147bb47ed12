#include "replica/client_session.h"

#include <algorithm>
#include <utility>

#include "base/planted_bug.h"

namespace resilver::replica {

Task<void> ClientDoor::end_current() {
  while (current_ != nullptr || calls_ != 0) {
    if (current_ != nullptr) current_->close();
    co_await free_.wait();
  }
}

Task<void> ClientDoor::shut() {
  open_ = false;
  co_await end_current();
  primary_ = nullptr;
}

bool ClientDoor::outdated(const ClientHello& hello) const noexcept {
  return hello.attachment < core_.metadata.now().attachment && !planted(PlantedBug::old_attachment_served);
}

// ok: the session is the current one.
Task<Errc> ClientDoor::admit(const ClientHello& hello, Session& session) {
  if (hello.volume != core_.config.volume) co_return Errc::bad_input;
  if (!open_) co_return Errc::not_primary;
  if (!serving()) co_return Errc::unavailable;
  if (outdated(hello)) co_return Errc::fenced;
  if (current_ != nullptr) current_->close();
  co_await attaching_.acquire();
  SemaphoreGuard guard(attaching_);
  if (session.closed()) co_return Errc::closed;
  if (!open_) co_return Errc::not_primary;
  if (outdated(hello)) co_return Errc::fenced;
  co_await end_current();
  if (!open_) co_return Errc::not_primary;
  if (session.closed()) co_return Errc::closed;
  ++calls_;
  Errc status = Errc::ok;
  if (primary_ != nullptr) {
    status = co_await primary_->attach(hello.attachment);
  } else if (hello.attachment > core_.metadata.now().attachment) {
    status = co_await core_.metadata.update([&](Superblock& s) { s.attachment = hello.attachment; });
  }
  --calls_;
  free_.wake_all();
  if (status == Errc::ok && !open_) status = Errc::not_primary;
  if (status == Errc::ok) current_ = &session;
  co_return status;
}

Task<void> ClientDoor::serve(Session& session, ClientHello hello) {
  const Errc status = co_await admit(hello, session);
  if (status != Errc::ok) {
    Redirect answer;
    answer.status =
        status == Errc::fenced || status == Errc::bad_input || status == Errc::unavailable ? status : Errc::not_primary;
    if (status == Errc::not_primary && core_.primary != core_.config.self) answer.hint = core_.primary;
    (void)co_await session.send_now(encode(core_.epoch(), answer), core_.now() + core_.lease());
    co_return;
  }
  session.send(encode(core_.epoch(),
                      Attached{core_.config.self, core_.volume_bytes, primary_ != nullptr ? primary_->reign() : 0}));
  co_await requests(session, hello.attachment);
  current_ = nullptr;
  free_.wake_all();
}

Task<void> ClientDoor::requests(Session& session, std::uint64_t attachment) {
  TaskGroup group(core_.scheduler);
  group.spawn(session.pump());
  std::size_t running = 0;
  Event& ended = session.ended();
  while (!session.closed()) {
    if (running + session.queued() >=
        core_.config.max_in_flight) {  // its answers count: a client that does not read waits
      (void)co_await ended.wait_until(core_.now() + kMillisecond / 4);
      continue;
    }
    auto received = co_await session.receive(kNever);
    if (!received) break;
    if (const auto* ping = std::get_if<Ping>(&received->body)) {
      session.send_urgent(encode(core_.epoch(), Pong{ping->cookie, serving()}));
      continue;
    }
    const auto* request = std::get_if<Request>(&received->body);
    if (request == nullptr || request->attachment != attachment) break;
    const bool flush = request->op == IoOp::flush;
    const bool in_range = flush || valid_range(request->offset, request->length, core_.volume_bytes);
    if (!in_range || received->payload.size() != (request->op == IoOp::write ? request->length : 0)) break;
    ++running;
    group.spawn(carry_out(session, *request, std::move(received->payload), running));
  }
  session.close();
  co_await group.join();
}

Task<void> ClientDoor::carry_out(Session& session, Request request, Buffer data, std::size_t& running) {
  Errc status = Errc::ok;
  if (request.op == IoOp::read) {
    data = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), request.length);
    if (!data) status = Errc::limit;
  }
  if (status == Errc::ok) status = co_await execute(request, data, session.ended());
  --running;
  if (status == Errc::not_primary || status == Errc::unavailable) {  // unanswered: the client asks the next primary
    session.close();
    co_return;
  }
  if (request.op != IoOp::read || status != Errc::ok) data = {};
  session.send(encode(core_.epoch(), Reply{request.id, status}, std::move(data)));
}

Task<Errc> ClientDoor::execute(const Request& request, Buffer data, const Event& abandoned) {
  const Extent extent{request.offset, request.length};
  if (primary_ != nullptr) {
    if (request.op == IoOp::read) co_return co_await primary_->read(extent, std::move(data));
    if (request.op == IoOp::flush) co_return co_await primary_->flush();
    co_return co_await primary_->write(request.op, extent, std::move(data), abandoned);
  }
  // Stand-alone: the device as it is; overlapping requests are its business.
  ++(request.op == IoOp::read ? core_.reads : core_.writes);
  switch (request.op) {
    case IoOp::read: co_return co_await Io::read(core_.device, extent.offset, std::move(data));
    case IoOp::write: co_return co_await Io::write(core_.device, extent.offset, std::move(data), request.fua);
    case IoOp::flush: co_return co_await Io::flush(core_.device);
    case IoOp::discard: co_return co_await Io::discard(core_.device, extent.offset, extent.length);
    case IoOp::write_zeroes:
      co_return co_await Io::write_zeroes(core_.device, extent.offset, extent.length, request.fua);
  }
  co_return Errc::unsupported;
}

}  // namespace resilver::replica
