// NodeConfig, NodeCommand and NodeReport as JSON text, for real node processes. Both ends are the same program, so there is
// no versioning; text that does not fit is refused all the same.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "scenario/control.h"

namespace resilver::scenario {

std::string to_json(const NodeConfig& config);
std::string to_json(const NodeCommand& command);
std::string to_json(const NodeReport& report);

// Errors: bad_input, with the parser's words.
Result<NodeConfig> node_config_from_json(std::string_view text);
Result<NodeCommand> node_command_from_json(std::string_view text);
Result<NodeReport> node_report_from_json(std::string_view text);

}  // namespace resilver::scenario
