// A machine whose disk is wrapped, in virtual time.
#pragma once

#include "tests/sim/machine.h"

namespace resilver::fault {

using sim::filled;
using sim::get;
using sim::Machine;
using sim::open;
using sim::put;
using sim::slow_disk;

inline Task<void> put_into(Env& env, BlockDevice& device, std::uint64_t block, Errc& status, bool fua = false) {
  status = co_await Io::write(device, block * kBlockBytes, filled(env, 1), fua);
}
inline Task<void> read_into(Env& env, BlockDevice& device, std::uint64_t block, Errc& status) {
  status = co_await Io::read(device, block * kBlockBytes, filled(env, 0));
}
inline constexpr Errc kNotYet = Errc::busy;  // that no request here ends with

}  // namespace resilver::fault
