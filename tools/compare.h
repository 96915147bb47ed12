// resilver compare: two reports of `resilver bench` or `make bench` side by side.
#pragma once

namespace resilver::tools {

int compare_main(int argc, char** argv);

}  // namespace resilver::tools
