#include "tools/options.h"

#include <fmt/format.h>

#include <boost/program_options.hpp>
#include <cstdio>

namespace resilver::tools {

namespace po = boost::program_options;

bool read_options(int argc, char** argv, const po::options_description& options,
                  const po::positional_options_description& positional, po::variables_map& values) {
  try {
    const auto style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    po::store(po::command_line_parser(argc, argv).options(options).positional(positional).style(style).run(), values);
    return true;
  } catch (const po::error& error) {
    fmt::print(stderr, "resilver {}: {}; see resilver {} --help\n", argv[0], error.what(), argv[0]);
    return false;
  }
}

}  // namespace resilver::tools
