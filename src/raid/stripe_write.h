// Writes to stripes with parity, merged: what several requests give to one stripe is written as one stripe operation.
//
// A stripe write is *open* from its first piece until it has the lock of its stripe; pieces that come meanwhile join it.
// Pieces that overlap one that is there open the next write of the stripe, so their order stays. Under sequential load an
// open write that is not full waits a short time for its continuation (it is *plugged*), before it asks for the lock.
#pragma once

#include <algorithm>
#include <coroutine>
#include <cstdint>
#include <vector>

#include "async/scheduler.h"
#include "raid/payload.h"

namespace resilver::raid {

// One request's wait for all of its pieces.
struct PieceWait : Runnable {
  PieceWait() noexcept : Runnable([](Runnable& self) noexcept { static_cast<PieceWait&>(self).waiting.resume(); }) {}
  bool await_ready() const noexcept { return pending < limit; }
  void await_suspend(std::coroutine_handle<> handle) noexcept { waiting = handle; }
  void await_resume() noexcept {
    waiting = nullptr;
    queued = false;
  }

  std::uint32_t pending = 0;
  std::uint32_t limit = 1;  // resumes when fewer are pending
  Errc status = Errc::ok;   // the first failure
  bool complete = false;    // no further pieces will come
  bool queued = false;
  std::coroutine_handle<> waiting;
};

// The bytes that one request gives to one stripe.
struct Piece {
  const Payload* payload = nullptr;
  std::uint64_t at = 0;     // where they begin in the payload
  std::uint64_t begin = 0;  // within the stripe's data: column 0 first
  std::uint64_t end = 0;
  IoUse use = IoUse::client;
  bool fua = false;
  bool continues = false;  // of a sequential stream that has more requests under way
  PieceWait* wait = nullptr;
};

struct StripeWrite {
  static constexpr std::size_t kMaxPieces = 1024;

  std::uint64_t stripe = 0;
  std::vector<Piece> pieces;  // disjoint
  std::uint64_t given = 0;    // bytes in all
  std::uint64_t reach = 0;    // the highest end
  bool closed = false;        // takes no more

  void close() noexcept { closed = true; }

  bool takes(const Piece& piece) const noexcept {
    if (pieces.size() == kMaxPieces) return false;
    if (piece.begin >= reach) return true;
    return std::none_of(pieces.begin(), pieces.end(),
                        [&piece](const Piece& other) { return other.begin < piece.end && piece.begin < other.end; });
  }
  void add(const Piece& piece) {
    pieces.push_back(piece);
    given += piece.end - piece.begin;
    reach = std::max(reach, piece.end);
  }
  // A sequential stream has come to its end here, and is likely to go on.
  bool expects_more(std::uint64_t stripe_bytes) const noexcept {
    return !closed && given < stripe_bytes && reach < stripe_bytes &&
           std::any_of(
               pieces.begin(), pieces.end(),
               [this](const Piece& piece) { return piece.continues && piece.end == reach; });
  }
};

// What a piece gives for one column of a band.
struct Span {
  std::uint32_t column = 0;
  std::uint64_t begin = 0;  // within the chunk
  std::uint64_t end = 0;
  const Payload* payload = nullptr;
  std::uint64_t at = 0;
  std::uint64_t size() const noexcept { return end - begin; }
};

}  // namespace resilver::raid
