// How many bytes a session may have unanswered at its peer, of writes and of pieces of a copy between two copies, of reads and
// writes between a client and the node that serves: more where what is sent is stored at once and beacons (a client's: pings)
// come back in time, less where they wait behind it. Delay-based, as LEDBAT (RFC 6817): what a beacon waits
// behind on a thin line is what was given to it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/time.h"
#include "env/block_device.h"

namespace resilver::replica {

// A beacon, or a client's ping, that is not answered.
struct SentBeacon {
  std::uint64_t cookie;
  Nanos at;
  bool filled;  // SendWindow::filled() then
};

class SendWindow {
 public:
  // In bytes: at most, at least, and in a first session.
  static constexpr std::uint64_t kMost = 32 << 20;
  static constexpr std::uint64_t kLeast = 64 << 10;
  static constexpr std::uint64_t kFirst = 128 << 10;
  static constexpr std::uint64_t kHistory = 64;  // beacons
  static constexpr unsigned kRound = 3;          // beacons

  std::uint64_t bytes() const noexcept { return bytes_; }
  void set(std::uint64_t bytes) noexcept { bytes_ = std::clamp(bytes, kLeast, kMost); }
  // What one message may carry, so that two are under way.
  std::uint64_t part() const noexcept { return bytes_ / 2 / kBlockBytes * kBlockBytes; }
  // The line has shown to be, here or in the session before.
  bool thin() const noexcept { return narrowed_ || bytes_ < kFirst; }
  // Where the next session of this line begins.
  std::uint64_t next_first() const noexcept { return thin() ? std::min(kFirst, bytes_ / 2) : kFirst; }

  // Whether `more` bytes may follow `outside` that are unanswered. One message always may, where nothing is.
  bool takes(std::uint64_t outside, std::uint64_t more) const noexcept {
    return outside == 0 || outside + more <= bytes_;
  }
  // What is unanswered tells how the line bears it.
  bool filled(std::uint64_t outside) const noexcept { return outside >= bytes_ / 2; }

  // `stored` bytes were answered `took` after they had left, the last of `outside` with them. Half of `most`, the time that
  // a beacon may wait, shows a line, and a disk, that can take more.
  void note_stored(std::uint64_t stored, std::uint64_t outside, Nanos took, Nanos most) noexcept {
    if (filled(outside) && took < most / 2) set(bytes_ + stored);
  }

  // A beacon of `sent`, when the window was `filled` or not, was answered `now`. If the quickest of kRound took over `most`
  // longer than the quickest of long, all have waited behind too much: half of it is right. (One that is late alone tells of
  // a busy machine.) If all left behind a filled window and the slowest took less than half of `most`: twice as much is. A way
  // that has become longer is known for what it is after two times kHistory beacons.
  void note_round_trip(Nanos sent, bool filled, Nanos now, Nanos most) noexcept {
    if (measured_++ % kHistory == 0) quickest_before_ = std::exchange(quickest_, kNever);
    quickest_ = std::min(quickest_, now - sent);
    if (sent < resized_) return;  // behind what was sent before
    round_.filled = round_.filled && filled;
    round_.quickest = std::min(round_.quickest, now - sent);
    round_.slowest = std::max(round_.slowest, now - sent);
    if (++round_.beacons < kRound) return;
    const Round round = std::exchange(round_, {});
    const Nanos usual = std::min(quickest_, quickest_before_);
    if (round.quickest - usual > most) {
      set(bytes_ / 2);
      narrowed_ = true;
      resized_ = now;
    } else if (round.filled && round.slowest - usual < most / 2) {
      set(bytes_ * 2);
      resized_ = now;
    }
  }

 private:
  std::uint64_t bytes_ = kFirst;
  bool narrowed_ = false;
  Nanos resized_ = 0;                                   // by a beacon
  std::uint64_t measured_ = 0;                          // beacons
  Nanos quickest_ = kNever, quickest_before_ = kNever;  // of the present kHistory of them, and of those before
  struct Round {
    unsigned beacons = 0;
    Nanos quickest = kNever, slowest = 0;
    bool filled = true;
  };
  Round round_;
};

}  // namespace resilver::replica
