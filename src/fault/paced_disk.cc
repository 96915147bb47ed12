#include "fault/paced_disk.h"

#include <utility>

#include "base/check.h"

namespace resilver::fault {

struct PacedDisk::Paced : Proxy {
  explicit Paced(PacedDisk& o) noexcept : Proxy(&inner_completed), owner(o), timer(*this) {}

  struct Due : Timer {
    explicit Due(Paced& p) noexcept : Timer(&expired), paced(p) {}
    static void expired(Runnable& self) noexcept {
      Paced& paced = static_cast<Due&>(self).paced;
      paced.owner.finish(paced);
    }
    Paced& paced;
  };

  static void inner_completed(Runnable& self) noexcept {
    auto& paced = static_cast<Paced&>(self);
    paced.owner.inner_done(paced);
  }

  PacedDisk& owner;
  Due timer;
  Nanos due = 0;
};

PacedDisk::PacedDisk(Scheduler& scheduler, std::unique_ptr<BlockDevice> inner, const DiskParameters& model)
    : scheduler_(scheduler), inner_(std::move(inner)), timer_(model) {}

PacedDisk::~PacedDisk() { CHECK(proxies_.in_use() == 0 || scheduler_.killed(), "requests are in flight"); }

void PacedDisk::submit(IoRequest& request) noexcept {
  Paced& paced = proxies_.take(*this);
  paced.stand_for(request);
  paced.due = timer_.complete_at(request.op, request.offset, request.length, scheduler_.now());
  inner_->submit(paced);
}

void PacedDisk::inner_done(Paced& paced) noexcept {
  const Nanos now = scheduler_.now();
  if (now < paced.due) {
    scheduler_.arm(paced.timer, paced.due);
    return;
  }
  if (now > paced.due) ++overruns_;
  finish(paced);
}

void PacedDisk::finish(Paced& paced) noexcept {
  ++requests_;
  IoRequest& outer = *paced.outer;
  const Errc status = paced.status;
  proxies_.give_back(paced);
  outer.complete(scheduler_, status);
}

}  // namespace resilver::fault
