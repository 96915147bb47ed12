// resilver bench: how fast arrays are here, on images of their own, and what limits them.
#pragma once

namespace resilver::tools {

int bench_main(int argc, char** argv);

}  // namespace resilver::tools
