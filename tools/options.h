// Reading a command line, once for all subcommands.
#pragma once

namespace boost::program_options {
class options_description;
class positional_options_description;
class variables_map;
}  // namespace boost::program_options

namespace resilver::tools {

// Reads argv (argv[0] is the subcommand's name) into `values`. Long options must be written out. False, after one line on
// standard error, if they make no sense.
bool read_options(int argc, char** argv, const boost::program_options::options_description& options,
                  const boost::program_options::positional_options_description& positional,
                  boost::program_options::variables_map& values);

}  // namespace resilver::tools
