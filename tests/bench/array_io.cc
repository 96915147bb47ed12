// array_io randread|randwrite|read|write KIB DEPTH MS CHUNK_KIB IMAGE...: requests of KIB on a RAID 0 of the images, on one
// ring and thread, for MS. What the images held is gone. fio on the same images is the peer.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "load.h"
#include "measure.h"
#include "raid/array.h"
#include "uring/real_env.h"

namespace {

using namespace resilver;
using bench::die;

Task<void> work(uring::RealEnv& env, std::vector<std::string> paths, raid::ArrayConfig config,
                bench::LoadOptions options, Nanos duration) {
  std::vector<std::unique_ptr<BlockDevice>> images;
  std::vector<raid::MemberDisk> members;
  for (const auto& path : paths) {
    auto image = co_await env.open_disk(path, env.scheduler().now() + kSecond);
    if (!image) die(image.error().what.c_str());
    images.push_back(std::move(*image));
    members.push_back({path, images.back().get()});
  }
  auto array =
      co_await raid::Array::create(env.scheduler(), env.buffers(), env.random(), config, {members, {}, {}}, true);
  if (!array) die(array.error().what.c_str());
  {
    bench::Load load(env.scheduler(), env.buffers(), **array, options);
    bench::Meter meter;
    meter.start();
    co_await load.run(duration);
    meter.stop();
    meter.print(load.ops(), load.bytes());
  }
  co_await (*array)->stop();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 7) die("usage: array_io randread|randwrite|read|write KIB DEPTH MS CHUNK_KIB IMAGE...");
  const std::string mode = argv[1];
  bench::LoadOptions options;
  options.min_bytes = options.max_bytes = std::strtoull(argv[2], nullptr, 10) * 1024;
  options.depth = static_cast<unsigned>(std::atoi(argv[3]));
  options.write_percent = mode.ends_with("write") ? 100 : 0;
  options.sequential = !mode.starts_with("rand");

  raid::ArrayConfig config;
  config.level = raid::Level::raid0;
  config.chunk_bytes = std::strtoull(argv[5], nullptr, 10) * 1024;
  config.consistency = raid::Consistency::none;

  auto env = uring::RealEnv::create({});
  if (!env) die(env.error().what.c_str());
  (*env)->ring().run(work(**env, {argv + 6, argv + argc}, config, options, std::atoi(argv[4]) * kMillisecond));
}
