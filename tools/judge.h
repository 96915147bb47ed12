#pragma once

namespace resilver::tools {

int judge_main(int argc, char** argv);

}  // namespace resilver::tools
