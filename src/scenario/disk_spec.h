// From a scenario's words about disks to the model that both worlds keep to.
#pragma once

#include "env/disk_model.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

// The preset with the scenario's own latency and bandwidth. Precondition: the model was checked when the file was read.
inline DiskParameters disk_parameters(const DiskSpec& spec) {
  DiskParameters parameters = disk_preset(spec.model).value();
  if (spec.latency) parameters.random_access = parameters.sequential_access = *spec.latency;
  if (spec.bandwidth) parameters.read_bandwidth = parameters.write_bandwidth = *spec.bandwidth;
  return parameters;
}

}  // namespace resilver::scenario
