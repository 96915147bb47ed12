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
  while (readers_ != 0) {
    reading_.for_each([](Reading& one) { one.session.close(); });
    co_await free_.wait();
  }
  primary_ = nullptr;
}

bool ClientDoor::outdated(const ClientHello& hello) const noexcept {
  const bool numbered = hello.attachment != 0;
  return numbered && hello.attachment < core_.metadata.now().attachment && !planted(PlantedBug::old_attachment_served);
}

// Its number: the session is the current one.
Task<Result<std::uint64_t>> ClientDoor::admit(const ClientHello& hello, Session& session) {
  if (outdated(hello)) co_return fail(Errc::fenced);
  if (current_ != nullptr) current_->close();
  co_await attaching_.acquire();
  SemaphoreGuard guard(attaching_);
  if (session.closed()) co_return fail(Errc::closed);
  if (!open_) co_return fail(Errc::not_primary);
  if (outdated(hello)) co_return fail(Errc::fenced);
  co_await end_current();
  if (!open_) co_return fail(Errc::not_primary);
  if (session.closed()) co_return fail(Errc::closed);
  ++calls_;
  Result<std::uint64_t> number = fail(Errc::not_primary);
  if (primary_ != nullptr) {
    number = co_await primary_->attach(hello.attachment);
  } else {
    number = hello.attachment != 0 ? hello.attachment : core_.metadata.now().attachment + 1;
    const Errc stored =
        co_await core_.metadata.update([&](Superblock& s) { s.attachment = std::max(s.attachment, *number); });
    if (stored != Errc::ok) number = fail(stored);
  }
  --calls_;
  free_.wake_all();
  if (number && !open_) number = fail(Errc::not_primary);
  if (number) current_ = &session;
  co_return number;
}

Task<void> ClientDoor::serve(Session& session, ClientHello hello) {
  Result<std::uint64_t> number = std::uint64_t{0};
  if (hello.volume != core_.config.volume) {
    number = fail(Errc::bad_input);
  } else if (!open_) {
    number = fail(Errc::not_primary);
  } else if (!serving()) {
    number = fail(Errc::unavailable);
  } else if (hello.read_only) {
    if (readers_ >= kMaxReaders) number = fail(Errc::unavailable);
  } else {
    number = co_await admit(hello, session);
  }
  if (!number) {
    const Errc status = number.error().code;
    const bool told = status == Errc::fenced || status == Errc::bad_input || status == Errc::unavailable;
    (void)co_await session.send_now(encode(core_.epoch(), Redirect{told ? status : Errc::not_primary}),
                                    core_.now() + core_.lease());
    co_return;
  }
  session.send(encode(core_.epoch(), Attached{core_.volume_bytes, primary_ != nullptr ? primary_->reign() : 0, *number,
                                              core_.config.max_in_flight}));
  if (!hello.read_only) {
    co_await requests(session, *number, false);
    current_ = nullptr;
  } else {
    Reading reading(session);
    reading_.push_back(reading);
    ++readers_;
    co_await requests(session, 0, true);
    --readers_;
  }
  free_.wake_all();
}

Task<void> ClientDoor::requests(Session& session, std::uint64_t attachment, bool read_only) {
  TaskGroup group(core_.scheduler);
  group.spawn(session.pump());
  std::size_t running = 0;
  // A client knows how much it may have under way; it is read on all the same, since its pings stand behind its requests.
  const std::size_t most = core_.config.max_in_flight + kSlack;
  while (!session.closed()) {
    auto received = co_await session.receive(kNever);
    if (!received) break;
    if (const auto* ping = std::get_if<Ping>(&received->body)) {
      session.send_urgent(encode(core_.epoch(), Pong{ping->cookie, serving()}));
      continue;
    }
    const auto* request = std::get_if<Request>(&received->body);
    if (request == nullptr || request->attachment != attachment) break;
    if (read_only && request->op != IoOp::read && request->op != IoOp::flush) {
      session.send(encode(core_.epoch(), Reply{request->id, Errc::read_only}));
      continue;
    }
    const bool flush = request->op == IoOp::flush;
    const bool in_range = flush || valid_range(request->offset, request->length, core_.volume_bytes);
    if (running + session.queued() >= most) break;
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
    case IoOp::reserve: break;  // no client asks for it
  }
  co_return Errc::unsupported;
}

}  // namespace resilver::replica
