#include "tools/array_command.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <boost/program_options.hpp>
#include <cstdio>

#include "base/units.h"
#include "env/block_device.h"
#include "tools/options.h"

namespace resilver::tools {
namespace {

namespace po = boost::program_options;
using Texts = std::vector<std::string>;

po::options_description make_options(const CommandSpec& spec) {
  po::options_description options("Options", 110, 70);
  for (const OptionSpec& option : spec.options) {
    if (option.value == nullptr) {
      options.add_options()(option.name, option.meaning);
    } else if (option.many) {
      options.add_options()(option.name, po::value<Texts>()->multitoken()->value_name(option.value), option.meaning);
    } else {
      options.add_options()(option.name, po::value<std::string>()->value_name(option.value), option.meaning);
    }
  }
  options.add_options()("help,h", "this text");
  return options;
}

template <typename T>
Result<T> named(const char* option, Result<T> value) {
  if (value) return value;
  return fail(Errc::bad_input, fmt::format("--{}: {}", option, value.error().what));
}

}  // namespace

std::string CommandLine::text(const char* name) const {
  const auto found = options.find(name);
  return found == options.end() || found->second.empty() ? std::string() : found->second.front();
}

Result<std::uint64_t> CommandLine::size_of(const char* name, std::uint64_t otherwise) const {
  return has(name) ? named(name, parse_size(text(name))) : otherwise;
}

Result<std::uint32_t> CommandLine::count_of(const char* name, std::uint32_t otherwise) const {
  if (!has(name)) return otherwise;
  const auto count = named(name, parse_count(text(name)));
  if (!count) return std::unexpected(count.error());
  if (*count > 1000) return fail(Errc::bad_input, fmt::format("--{}: {} is more than 1000", name, *count));
  return static_cast<std::uint32_t>(*count);
}

Result<std::uint64_t> CommandLine::rate_of(const char* name) const {
  if (!has(name)) return 0;
  const std::string given = text(name);
  return named(name, given.ends_with("/s") ? parse_rate(given) : parse_size(given));
}

std::optional<CommandLine> read_command_line(int argc, char** argv, const CommandSpec& spec, int& code) {
  const po::options_description options = make_options(spec);
  po::options_description all;
  all.add(options).add_options()("words", po::value<Texts>(), "");
  po::positional_options_description positional;
  positional.add("words", -1);
  po::variables_map values;
  code = kBadUsage;
  if (!read_options(argc, argv, all, positional, values)) return std::nullopt;
  code = kDone;
  if (values.contains("help")) {
    fmt::print("{}\n\n{}\n{}", spec.usage, fmt::streamed(options), spec.examples);
    return std::nullopt;
  }
  CommandLine line;
  line.command = spec.name;
  for (const auto& [name, value] : values) {
    if (name == "words") {
      line.words = value.as<Texts>();
    } else if (const auto* one = boost::any_cast<std::string>(&value.value())) {
      if (one->empty()) {
        code = all.find(name, false).semantic()->max_tokens() == 0 ? kDone
                                                                   : refuse_usage(spec.name, "--" + name + ": empty");
        if (code != kDone) return std::nullopt;
        line.options[name] = {};
      } else {
        line.options[name] = {*one};
      }
    } else {
      line.options[name] = value.as<Texts>();
    }
  }
  return line;
}

void say(bool dry_run, const std::string& line) { fmt::print("{}{}\n", dry_run ? "would: " : "", line); }

std::string too_small_text(std::uint64_t bytes, std::uint64_t needed) {
  const std::string is = format_size(bytes), wanted = format_size(needed);
  if (is != wanted) return fmt::format("its size is {}, {} ({} bytes) are needed", is, wanted, needed);
  return fmt::format("its size is {} bytes, {} are needed: {} bytes ({} sectors) too few", bytes, needed,
                     needed - bytes, (needed - bytes + kSectorBytes - 1) / kSectorBytes);
}

int refuse_usage(const std::string& command, const std::string& why) {
  fmt::print(stderr, "resilver {}: {}; see resilver {} --help\n", command, why, command);
  return kBadUsage;
}

int refuse(const std::string& command, const Error& error) {
  fmt::print(stderr, "resilver {}: {}\n", command, error.what.empty() ? to_string(error) : error.what);
  return kFailed;
}

}  // namespace resilver::tools
