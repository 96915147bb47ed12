# awk -f rules.awk arrows.txt SOURCE...: include directions, words that engine code must not use, length of files.

function complain(what) {
  printf "%s:%d: %s\n", FILENAME, FNR, what
  bad = 1
}

function close_file() {
  if (lines > 800) {
    printf "%s:%d: %d lines; a file has at most 800\n", last, lines, lines
    bad = 1
  }
}

# The room a path belongs to: src/raid/array.cc is raid, tools/main.cc is tools, tests have none.
function room_of(path,    parts) {
  split(path, parts, "/")
  if (parts[1] == "src") return parts[2]
  return parts[1] == "tools" ? "tools" : ""
}

FILENAME == ARGV[1] {
  if (/^#/ || NF == 0) next
  from = $1
  sub(/:$/, "", from)
  known[from] = 1
  allowed[from, from] = 1
  for (i = 2; i <= NF; i++) {
    allowed[from, $i] = 1
    arrow_line[from, $i] = FNR
  }
  next
}

FNR == 1 {
  close_file()
  last = FILENAME
  room = room_of(FILENAME)
  if (room != "" && !(room in known)) complain("room '" room "' is not in tests/lint/arrows.txt")
  engine = room ~ /^(async|env|raid|replica|fault|sim|workload)$/
  header = FILENAME ~ /\.h$/
}

{
  lines = FNR
  # clang-format aims at 120 and leaves comments alone. Length counts bytes here: lines with other letters are let be.
  if (length($0) > 128 && $0 !~ /[\200-\377]/) complain("line of " length($0) " columns; aim at 120, at most 128")
}

/^[ \t]*#[ \t]*include/ {
  target = $0
  sub(/^[ \t]*#[ \t]*include[ \t]*/, "", target)
  quoted = target ~ /^"/
  sub(/^["<]/, "", target)
  sub(/[">].*$/, "", target)
  top = target
  sub(/\/.*/, "", top)
  used[room, top] = 1
  if (room != "" && quoted && target ~ /\// && !((room, top) in allowed))
    complain(room " must not include " top " (\"" target "\"); see tests/lint/arrows.txt")
  if (room != "" && quoted && target !~ /\//) complain("include relative to src/: \"" target "\"")
  if (room != "" && room != "uring" && target ~ /^liburing/) complain("only src/uring includes liburing")
  if (target ~ /^(isa-l|isal)/ && room != "" && FILENAME !~ /^src\/(raid\/parity|base\/crc32c)\.cc$/) complain("only src/raid/parity.cc and src/base/crc32c.cc include ISA-L")
  # Headers named toml_*.h are toml++ itself, with its switches set in one place: only .cc files include them.
  if (header && FILENAME !~ /\/toml_[a-z_]*\.h$/ && target ~ /^((toml\+\+|nlohmann|boost)\/|.*\/toml_[a-z_]*\.h$)/)
    complain("heavy header; include it in few .cc files only")
  if (engine && target ~ /^(thread|mutex|shared_mutex|condition_variable|random|fstream|filesystem|unordered_map|unordered_set|sys\/socket\.h|fcntl\.h|unistd\.h|cmath|math\.h|ctime|time\.h)$/)
    complain("engine code reaches the world only through src/env: <" target ">")
  next
}

engine {
  code = $0
  sub(/\/\/.*/, "", code)
  gsub(/"([^"\\]|\\.)*"/, "\"\"", code)
  if (code ~ /std::(chrono::[a-z_]*clock|this_thread|j?thread|mutex|async|random_device|mt19937|unordered_|[a-z_]+_distribution)/ ||
      code ~ /std::(fopen|rand|time|clock|pow|log2?|exp|sqrt|sin|cos)\(/ ||
      code ~ /(^|[^A-Za-z0-9_.>:])(rand|srand|gettimeofday|clock_gettime|fopen|usleep|nanosleep|getrandom)[ ]?\(/ ||
      code ~ /(^|[^A-Za-z0-9_>])::(open|socket|time|clock|random)\(/)
    complain("engine code must not use this: clocks, threads, files, sockets, system randomness, libm, unordered containers")
}

# Two machines' wall clocks never agree: none decides anything of a volume.
FILENAME ~ /^(src\/service\/|tools\/(volume|node|arbiter))/ && /(system_clock|CLOCK_REALTIME|std::time\(|::time\(|gettimeofday)/ {
  complain("a volume's programs must not read the wall clock")
}

END {
  for (arrow in arrow_line) {
    if (arrow in used) continue
    split(arrow, ends, SUBSEP)
    printf "tests/lint/arrows.txt:%d: nobody in %s includes %s: take the arrow out\n", arrow_line[arrow], ends[1], ends[2]
    bad = 1
  }
  close_file()
  exit bad
}
