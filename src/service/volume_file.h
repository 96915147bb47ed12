// The volume's file, changed by a command: one key of [volume], everything else as somebody wrote it.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace resilver::service {

struct Setting {
  std::string key;
  std::string value;  // as it stands in the file: "\"64MiB\""; empty: the key's line is taken out
};

// Sets keys of the table [volume] in the file at `path`, whole or not at all (a new file that takes the old one's
// place, with its permissions). Errors: bad_input (the table is not written as [volume]; what to write by hand),
// permission, no_space, io.
Status set_in_volume(const std::string& path, const std::vector<Setting>& settings);

}  // namespace resilver::service
