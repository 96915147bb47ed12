#include "raid/leaf.h"

namespace resilver::raid {

Leaf& LeafPool::grow() {
  auto& leaf = *leaves_.emplace_back(std::make_unique<Leaf>());
  leaf.run = &completed;
  leaf.pool = this;
  ++out_;
  return leaf;
}

void LeafPool::give_back(Leaf& leaf) noexcept {
  for (std::uint32_t i = 0; i < leaf.count; ++i) leaf.buffers[i] = Buffer();
  leaf.count = 0;
  leaf.segments = {};
  leaf.fua = false;
  leaf.length = 0;
  leaf.sink = nullptr;
  leaf.member = nullptr;
  leaf.next_free = free_;
  free_ = &leaf;
  if (--out_ == 0 && released_) delete this;
}

void LeafPool::release() noexcept {
  if (out_ == 0 || scheduler_.killed()) {
    delete this;
    return;
  }
  released_ = true;
  for (auto& leaf : leaves_) leaf->member = nullptr;
  scheduler_.leave_behind(*this);
}

void LeafPool::completed(Runnable& self) noexcept {
  auto& leaf = static_cast<Leaf&>(static_cast<IoRequest&>(self));
  if (leaf.member != nullptr) {
    if (leaf.sink == nullptr) {
      --leaf.member->orphans;
    } else {
      leaf.unlink();
      --leaf.member->in_flight_count;
      leaf.member->latency += (leaf.pool->scheduler_.now() - leaf.started - leaf.member->latency) / 8;
      ++leaf.member->answered;
      if (leaf.status != Errc::ok) ++leaf.member->errors;
      leaf.sink->leaf_done(leaf);
    }
  }
  leaf.pool->give_back(leaf);
}

}  // namespace resilver::raid
