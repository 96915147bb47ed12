// reference_plain: the work of stripe_work.h as the simplest loop on one thread: pread from each member, compute, pwrite to
// each spare, one window of 128 KiB after the other, O_DIRECT. Nothing overlaps; it costs the least CPU time.
#include "stripe_work.h"

namespace {

using namespace resilver::bench;

void run(const StripeWork& work) {
  StripeMath math(work);
  auto* arena = static_cast<Byte*>(std::aligned_alloc(4096, kMaxImages * kWindow));
  if (arena == nullptr) die("no memory");
  Byte* buffers[kMaxImages];
  for (unsigned i = 0; i < kMaxImages; ++i) buffers[i] = arena + i * kWindow;
  for (std::uint64_t at = work.begin; at < work.end;) {
    const std::uint64_t length = std::min(kWindow, work.end - at);
    const auto whole = static_cast<ssize_t>(length);
    for (unsigned member = work.lost; member < work.members; ++member)
      if (pread(work.fds[member], buffers[member], length, static_cast<off_t>(at)) != whole) die("a read failed");
    if (work.scrub) {
      math.check(buffers, at, length);
    } else {
      math.restore(buffers, at, length);
      for (unsigned spare = work.members; spare < work.members + work.lost; ++spare)
        if (pwrite(work.fds[spare], buffers[spare], length, static_cast<off_t>(at)) != whole) die("a write failed");
    }
    at += length;
  }
  for (unsigned spare = 0; spare < work.lost; ++spare)
    if (fdatasync(work.fds[work.members + spare]) != 0) die("cannot sync");
  std::free(arena);
}

}  // namespace

int main(int argc, char** argv) {
  const StripeWork work = stripe_work(argc, argv);
  Meter meter;
  meter.start();
  run(work);
  meter.stop();
  meter.print(work.bytes() / kWindow, work.bytes());
}
