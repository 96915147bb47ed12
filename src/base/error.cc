#include "base/error.h"

#include "base/printable.h"

namespace resilver {

const char* errc_name(Errc code) noexcept {
  switch (code) {
    case Errc::ok: return "ok";
    case Errc::invalid_argument: return "invalid argument";
    case Errc::bad_input: return "bad input";
    case Errc::io: return "I/O error";
    case Errc::medium: return "medium error";
    case Errc::device_gone: return "device gone";
    case Errc::timeout: return "timeout";
    case Errc::cancelled: return "cancelled";
    case Errc::closed: return "closed";
    case Errc::no_space: return "no space";
    case Errc::limit: return "limit reached";
    case Errc::not_primary: return "not primary";
    case Errc::fenced: return "fenced";
    case Errc::unavailable: return "unavailable";
    case Errc::corrupt: return "corrupt";
    case Errc::unsupported: return "unsupported";
    case Errc::permission: return "permission denied";
    case Errc::not_found: return "not found";
    case Errc::exists: return "exists";
    case Errc::busy: return "busy";
    case Errc::read_only: return "read-only";
  }
  return "unknown error";
}

std::string to_string(const Error& error) {
  if (error.what.empty()) return errc_name(error.code);
  return printable(error.what) + " (" + errc_name(error.code) + ")";
}

}  // namespace resilver
