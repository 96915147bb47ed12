#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/units.h"
#include "base/version.h"
#include "scenario/capacity.h"
#include "scenario/run.h"

namespace resilver::scenario {

Result<std::uint64_t> check_fill(const Scenario& scenario, const std::string& path) {
  if (path.empty()) return 0;
  struct stat file{};
  if (stat(path.c_str(), &file) != 0) {
    return fail(Errc::bad_input, fmt::format("--fill {}: {}", path, std::strerror(errno)));
  }
  if (!S_ISREG(file.st_mode)) return fail(Errc::bad_input, fmt::format("--fill {}: expected a regular file", path));
  const auto bytes = static_cast<std::uint64_t>(file.st_size);
  // What the fill leaves must hold the workload's range and the prober's.
  const std::uint64_t most = scenario.volume_bytes / 2;
  if (bytes > most) {
    return fail(Errc::bad_input, fmt::format("--fill {}: {} do not fit: at most half of the volume of {}", path,
                                             format_size(bytes), format_size(scenario.volume_bytes)));
  }
  return bytes;
}

RunHeader make_header(const Scenario& scenario) {
  RunHeader header;
  header.scenario = scenario.name;
  header.title = scenario.title;
  header.real = scenario.real;
  header.paced = scenario.pace;
  header.seed = scenario.seed;
  header.volume_bytes = scenario.volume_bytes;
  header.modelled_volume_bytes = scenario.modelled_volume_bytes;
  header.fair = scenario.fair == Fairness::same_disk ? "same-disk" : "same-usable";
  header.disk_model = scenario.disk.model;
  header.link =
      fmt::format("{}, {}", format_bit_rate(scenario.client_link.bandwidth), format_duration(scenario.client_link.rtt));
  header.length = scenario.length;
  header.show = scenario.show;
  header.probe_period = probe_period(scenario);
  header.probe_tolerance = probe_tolerance(scenario);
  header.versions.emplace_back("resilver", kVersion);
  header.versions.emplace_back("compiler", __VERSION__);
  utsname system{};
  if (uname(&system) == 0) {
    header.versions.emplace_back("kernel", system.release);
    header.machine = fmt::format("{}, {} cores", system.machine, sysconf(_SC_NPROCESSORS_ONLN));
  }
  return header;
}

}  // namespace resilver::scenario
