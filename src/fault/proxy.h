// A request on behalf of another one, for wrappers that have to see a completion or change what is asked.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "env/block_device.h"

namespace resilver::fault {

// Stands at the inner device for `outer`. It shares the outer request's segments, which stay until that is completed.
struct Proxy : IoRequest {
  using IoRequest::IoRequest;

  void stand_for(IoRequest& request) noexcept {
    outer = &request;
    op = request.op;
    fua = request.fua;
    offset = request.offset;
    length = request.length;
    segments = request.segments;
    status = Errc::ok;
  }
  IoRequest* outer = nullptr;
};

// Proxies of a wrapper, used again and again: as many as were ever in use at a time, which its submitters bound.
// P is made as P(owner).
template <typename P>
class ProxyPool {
 public:
  template <typename Owner>
  P& take(Owner& owner) {
    ++in_use_;
    if (free_.empty()) {
      all_.push_back(std::make_unique<P>(owner));
      free_.reserve(all_.size());
      return *all_.back();
    }
    P& proxy = *free_.back();
    free_.pop_back();
    return proxy;
  }
  void give_back(P& proxy) noexcept {
    --in_use_;
    free_.push_back(&proxy);
  }
  std::size_t in_use() const noexcept { return in_use_; }

  // Every proxy that was ever made, idle ones too.
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (const auto& proxy : all_) visit(*proxy);
  }

 private:
  std::size_t in_use_ = 0;
  std::vector<std::unique_ptr<P>> all_;
  std::vector<P*> free_;
};

}  // namespace resilver::fault
