// How many bytes of writes and of pieces of a copy a session may have at its peer unanswered: more where what is sent is stored
// at once and beacons come back in time, less where they wait behind it. Delay-based, as LEDBAT (RFC 6817): what a beacon waits
// behind on a thin line is what was given to it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/time.h"
#include "env/block_device.h"

namespace resilver::replica {

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
  bool takes(std::uint64_t outside, std::uint64_t more) noexcept {
    if (outside + more > bytes_ / 2) pressed_ = true;
    return outside == 0 || outside + more <= bytes_;
  }

  // `stored` bytes were answered `took` after they had left. Half of `most`, the time that a beacon may wait, shows a line, and
  // a disk, that can take more.
  void note_stored(std::uint64_t stored, Nanos took, Nanos most) noexcept {
    if (pressed_ && took < most / 2) set(bytes_ + stored);
  }

  // A beacon of `sent` was answered `now`. If the quickest of kRound took over `most` longer than the quickest of long, all
  // have waited behind too much: half of it is right. Less than half of `most`: twice as much is, where there is more to
  // send. (One that is late alone tells of a busy machine.) A way that has become longer is known for what it is after two
  // times kHistory beacons.
  void note_round_trip(Nanos sent, Nanos now, Nanos most) noexcept {
    if (measured_++ % kHistory == 0) quickest_before_ = std::exchange(quickest_, kNever);
    quickest_ = std::min(quickest_, now - sent);
    if (sent < resized_) return;  // behind what was sent before
    quickest_of_round_ = std::min(quickest_of_round_, now - sent);
    if (++in_round_ < kRound) return;
    const Nanos waited = quickest_of_round_ - std::min(quickest_, quickest_before_);
    quickest_of_round_ = kNever;
    in_round_ = 0;
    if (waited > most) {
      set(bytes_ / 2);
      narrowed_ = true;
      resized_ = now;
    } else if (waited < most / 2 && std::exchange(pressed_, false)) {
      set(bytes_ * 2);
      resized_ = now;
    }
  }

 private:
  std::uint64_t bytes_ = kFirst;
  bool pressed_ = false;  // since it was last doubled there was more than half a window to send
  bool narrowed_ = false;
  Nanos resized_ = 0;                                   // by a beacon
  std::uint64_t measured_ = 0;                          // beacons
  Nanos quickest_ = kNever, quickest_before_ = kNever;  // of the present kHistory of them, and of those before
  Nanos quickest_of_round_ = kNever;
  unsigned in_round_ = 0;
};

}  // namespace resilver::replica
