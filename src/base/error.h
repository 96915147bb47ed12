// src/base: what every other room stands on: checks, errors, units, byte order, checksums, hashes, histograms, the seeded
// generator, log lines. It may assume nothing but the language and libfmt. It never knows another room, starts nothing,
// waits for nothing, and (but for the log) does no I/O.
//
// Errors are values. A Result carries either a value or an Error; nothing on the data path throws.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>

#include "base/compiler.h"

namespace resilver {

// What went wrong, in the few kinds that callers tell apart. One byte, so that an I/O request can carry it.
enum class Errc : std::uint8_t {
  ok = 0,
  invalid_argument,  // the caller asked for something that the callee documents as refused
  bad_input,         // a file, an image or a configuration is not what it must be
  io,                // the device reported an error and did not say which
  medium,            // these blocks cannot be read (latent error); rewriting them may heal
  device_gone,       // the disk has failed or was unplugged: every further I/O fails
  timeout,           // no answer in time; the operation may still have happened
  cancelled,         // given up by us; a cancelled write may still have happened
  closed,            // the connection or the device was closed
  no_space,          // the image or file system is full
  limit,             // a bounded resource (buffers, queue, frame size) is exhausted
  not_primary,       // this replica does not serve the volume now; ask another
  fenced,            // a newer epoch or attachment exists; the sender must stop
  unavailable,       // too little redundancy is left, or the volume does not serve now
  corrupt,           // a checksum or a magic number does not match
  unsupported,       // known, and refused by name
  permission,        // the system does not allow it
  not_found,
  exists,
  busy,       // locked by another process
  read_only,  // it was opened for reading only
};

// The field's word for a kind, as printed in messages and results ("medium error").
const char* errc_name(Errc code) noexcept;

struct Error {
  Errc code = Errc::io;
  std::string what;  // one line for people: what and where; empty on the data path
};

// "WHAT (kind)", or the kind alone.
std::string to_string(const Error& error);

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> fail(Errc code, std::string what = {}) {
  return std::unexpected<Error>(Error{code, std::move(what)});
}

}  // namespace resilver
