// Listening on an address that a predecessor may have left only just now.
#pragma once

#include <memory>
#include <string>

#include "async/task.h"
#include "base/error.h"
#include "uring/real_env.h"

namespace resilver::tools {

// The ring of a process that was killed holds its sockets beyond its death: some 66 ms, on a busy machine more than a second.
// An address in use is tried again for so long. Errors: those of TcpNetwork::listen_tcp().
Task<Result<std::unique_ptr<uring::TcpListener>>> listen_patiently(uring::RealEnv& env, std::string address);

}  // namespace resilver::tools
