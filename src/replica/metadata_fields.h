// The fields of a superblock, for codec.h's Writer and Reader.
#pragma once

#include "replica/codec.h"
#include "replica/metadata.h"

namespace resilver::replica {

template <typename F>
void fields(F& f, Promise& v) {
  f(v.run, v.key, v.version, v.nonce);
}

// Without the lost blocks, which are kept as numbers.
template <typename F>
void fields(F& f, Superblock& v) {
  f(v.volume, v.copy, v.node, v.volume_bytes, v.granule, v.bit_count, v.founder, v.inconsistent, v.suspect, v.usurped,
    v.growing_from, v.attachment, v.resync_id, v.base, v.promise, v.forks, v.lives, v.arbiter, v.known);
}

}  // namespace resilver::replica
