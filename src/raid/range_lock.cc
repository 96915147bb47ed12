#include "raid/range_lock.h"

namespace resilver::raid {

bool RangeLock::blocked(const Entry& entry) noexcept {
  bool found = false;
  bool earlier = true;
  entries_.for_each([&](Entry& other) {
    if (&other == &entry) earlier = false;
    if (earlier && conflict(entry, other)) found = true;
  });
  return found;
}

bool RangeLock::acquire(Entry& entry) noexcept {
  entry.granted = true;
  if (planted(PlantedBug::no_range_lock)) return true;
  const bool may_conflict = entry.exclusive ? total_ != 0 : exclusives_ != 0;
  if (may_conflict) entry.granted = !blocked(entry);
  entries_.push_back(entry);
  ++total_;
  if (entry.exclusive) ++exclusives_;
  if (!entry.granted) ++waiting_;
  return entry.granted;
}

void RangeLock::release(Entry& entry) noexcept {
  CHECK(entry.granted);
  entry.granted = false;
  if (!entry.linked()) return;  // planted: never entered
  entry.unlink();
  --total_;
  if (entry.exclusive) --exclusives_;
  if (waiting_ == 0) return;
  entries_.for_each([&](Entry& other) {
    if (other.granted || !conflict(entry, other) || blocked(other)) return;
    other.granted = true;
    --waiting_;
    scheduler_.post(other);
  });
}

}  // namespace resilver::raid
