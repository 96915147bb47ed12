// A doubly linked list whose links live in the elements: no allocation, O(1) removal, and an element that dies unlinks
// itself. Waiters in coroutine frames need exactly that: when a simulated node is killed its frames are destroyed in
// whatever order they own each other, and no list may be left with a dangling waiter.
#pragma once

#include "base/check.h"

namespace resilver {

class ListHook {
 public:
  ListHook() noexcept : prev_(this), next_(this) {}
  ListHook(const ListHook&) = delete;
  ListHook& operator=(const ListHook&) = delete;
  ~ListHook() { unlink(); }

  bool linked() const noexcept { return next_ != this; }

  // Removes this element from the list it is in; does nothing if it is in none.
  void unlink() noexcept {
    prev_->next_ = next_;
    next_->prev_ = prev_;
    prev_ = next_ = this;
  }

 private:
  template <typename T>
  friend class IntrusiveList;

  void insert_before(ListHook& position) noexcept {
    CHECK(!linked());
    prev_ = position.prev_;
    next_ = &position;
    prev_->next_ = this;
    position.prev_ = this;
  }

  ListHook* prev_;
  ListHook* next_;
};

// T derives from ListHook. The list owns nothing. Not thread-safe.
template <typename T>
class IntrusiveList {
 public:
  IntrusiveList() noexcept = default;
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() { clear(); }

  bool empty() const noexcept { return !head_.linked(); }
  void push_back(T& element) noexcept { hook(element).insert_before(head_); }
  void push_front(T& element) noexcept { hook(element).insert_before(*head_.next_); }
  T& front() noexcept {
    CHECK(!empty());
    return *static_cast<T*>(head_.next_);
  }
  T& pop_front() noexcept {
    T& element = front();
    hook(element).unlink();
    return element;
  }
  // Unlinks every element.
  void clear() noexcept {
    while (!empty()) pop_front();
  }

  // Calls visit(element) in order; visit may unlink the element it is given, nothing else.
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (ListHook* at = head_.next_; at != &head_;) {
      ListHook* next = at->next_;
      visit(*static_cast<T*>(at));
      at = next;
    }
  }

 private:
  static ListHook& hook(T& element) noexcept { return element; }
  ListHook head_;
};

}  // namespace resilver
