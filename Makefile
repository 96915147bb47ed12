# resilver: GNU make, one non-recursive makefile. `make help` is this comment.
#
#   make                     the program, build/release/resilver
#   make demo [FILL=FILE]    install what is missing, build, run the main job on FILE
#   make check               install what is missing, lint, build, run all tests (what .ci/run calls)
#   make check-long          the same with 10,000 swarm seeds
#   make quick               lint, the rooms that only compute, 20 seeds, scenarios in virtual time: a minute when built
#   make test ROOM=raid FILTER='Bitmap.*' VARIANT=asan   one room's tests, or some of them
#   make compile_commands.json   for editors and clangd
#   make asan | tsan         build and run the unit tests of that variant only
#   make swarm N=300 SEED=1  N random virtual scenarios from seed SEED on (KIND=any, local, parity, replicated, split_brain);
#                            then N schedules of faults against the replicas' protocol alone
#   make words N=1000 SEED=1   N random scenarios, and all that ship: what is printed against its figures (tests/words)
#   make walk N=20 SEED=1    N rounds over real processes from seed SEED on: nodes are killed, records and images restored,
#                            cloned, damaged, files differ, disks fill up (tests/walk)
#   make walk KIND=arrays      the same of an array's images: killed commands, images lost, aged, damaged, exchanged
#   make interop             the tests against Linux md (user-mode-linux), mdadm and GRUB alone
#   make fuzz                parsers of what is on disk, on lines, in scenario files against made-up input, FUZZ_SECONDS (600) for each
#   make bench               speed against fio, btrfs and reference programs (14 minutes; see tests/bench/run)
#   make lint | format       check the house rules | apply clang-format
#   make deps                install the Debian packages that are missing
#   make share               write share/ anew (man pages, completion), from what the commands understand
#   make install | uninstall [PREFIX=/usr/local] [DESTDIR=]   program, scenarios, man pages, completion, docs
#   make clean
#
# Variants: release, debug, asan, tsan. Everything built goes under build/<variant>/.

SHELL := /bin/bash
.SHELLFLAGS := -c
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

PREFIX ?= /usr/local
DESTDIR ?=
FILL ?= build/release/resilver
N ?= 300
SEED ?= 1
KIND ?= any
FILTER ?= *
VARIANT ?= release

# ---- packages: the one list ------------------------------------------------------------------------------------------
# llvm-19 brings the symbolizer, without which a sanitizer's report has no file names.
PACKAGES := clang-19 lld-19 llvm-19 clang-format-19 libclang-rt-19-dev libstdc++-12-dev liburing-dev libisal-dev libxxhash-dev \
  libboost-program-options-dev libfmt-dev libtomlplusplus-dev nlohmann-json3-dev libgtest-dev libgmock-dev \
  user-mode-linux mdadm grub-common libblkid-dev iproute2 python3 scdoc
BENCH_PACKAGES := fio btrfs-progs

# ---- fuzzing -----------------------------------------------------------------------------------------------------------
# One target for each tests/fuzz/NAME.cc. They link the pure layer only: few files to compile once more.
FUZZ_TARGETS := $(basename $(notdir $(wildcard tests/fuzz/*.cc)))
FUZZ_USES := $(wildcard src/base/*.cc src/raid/geometry*.cc src/raid/superblock*.cc src/raid/*_format.cc src/raid/bad_blocks.cc)
FUZZ_USES_frame := $(wildcard src/base/*.cc) src/env/frame.cc src/env/buffer.cc src/replica/wire.cc src/replica/record.cc
FUZZ_USES_session := $(FUZZ_USES_frame) $(addprefix src/replica/,core.cc client_session.cc peer_link.cc secondary.cc)
# What a target needs beside and does not aim at: linked as the variant asan has it.
FUZZ_NEEDS_session := $(filter-out $(FUZZ_USES_session),$(wildcard src/async/*.cc src/env/*.cc src/replica/*.cc))
FUZZ_USES_scenario := $(addprefix src/scenario/,parse.cc toml_reader.cc selector.cc verbs.cc validate.cc expect.cc)
FUZZ_NEEDS_scenario := $(filter-out $(FUZZ_USES_scenario),$(foreach r,base async env uring sim fault raid replica workload scenario,\
  $(wildcard src/$r/*.cc)))
# In `make fuzz` alone: tests/scenario_lang has its own made-up texts for `make check`.
FUZZ_CHECK_TARGETS := $(filter-out scenario,$(FUZZ_TARGETS))
fuzz_uses = $(if $(filter-out undefined,$(origin FUZZ_USES_$1)),$(FUZZ_USES_$1),$(FUZZ_USES))
FUZZ_SECONDS ?= 600
FUZZ_CHECK_SECONDS := 6

# ---- which tests run where -------------------------------------------------------------------------------------------
# Every room's unit tests run under ASan+UBSan, but those of RELEASE_ROOMS (slow, or real processes), which run as they
# ship. Rooms with threads or rings run under TSan too. ASAN_EXTRA: more runs, BINARY or BINARY,VARIABLE=VALUE.
RELEASE_ROOMS := interop e2e netns walk scenario swarm crash
TSAN_ROOMS := async uring
SWARM_ASAN_SEEDS := 20
WORDS_RUNS ?= 40
TEST_TIMEOUT_S ?= 900

# ---- compiler --------------------------------------------------------------------------------------------------------
CXX := clang++-19
CC_INTEROP := clang-19 -O2 -Wall -Wextra -Werror
WARNINGS := -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough -Werror
CXXFLAGS_COMMON := -std=c++23 -march=x86-64-v2 -pthread -fno-omit-frame-pointer -fpch-instantiate-templates $(WARNINGS) \
  -Isrc -I.
LDFLAGS_COMMON := -fuse-ld=lld -pthread -Wl,--as-needed
LIBS := -lboost_program_options -lfmt -luring -lisal -lblkid
TEST_LIBS := -lgmock -lgtest -lgtest_main

VARIANTS := release debug asan tsan fuzz
CXXFLAGS_release := -O2 -g1
CXXFLAGS_debug := -O0 -g -D_GLIBCXX_ASSERTIONS
CXXFLAGS_asan := -O1 -g1 -D_GLIBCXX_ASSERTIONS -fsanitize=address,undefined -fno-sanitize-recover=all \
  -fno-sanitize=null,vptr,object-size
CXXFLAGS_tsan := -O1 -g1 -fsanitize=thread
CXXFLAGS_fuzz := $(CXXFLAGS_asan) -fsanitize=fuzzer-no-link
# Undefined behaviour is looked for in the program, not in what tests it.
CXXFLAGS_tests_asan := -fno-sanitize=undefined
# Rooms that drive processes or wait, and tests that compute little, are not optimized: that is most of the time of
# compiling them. (Of an inline function that several objects hold the linker keeps the first: those of src stand first.)
PLAIN_ROOMS := async base cli e2e env fault interop netns report scenario scenario_lang service sim support uring walk
PLAIN_TESTS := $(foreach r,$(PLAIN_ROOMS),tests/$r/%)
LDFLAGS_asan := -fsanitize=address,undefined
LDFLAGS_tsan := -fsanitize=thread
LDFLAGS_fuzz := -fsanitize=fuzzer,address,undefined

# ---- sources ---------------------------------------------------------------------------------------------------------
ROOMS := $(patsubst src/%/,%,$(sort $(dir $(wildcard src/*/*.cc))))
TOOL_SOURCES := $(wildcard tools/*.cc)
SUPPORT_SOURCES := $(wildcard tests/support/*.cc)
BENCH_SOURCES := $(wildcard tests/bench/*.cc)
TEST_ROOMS := $(patsubst tests/%/,%,$(sort $(dir $(wildcard tests/*/*_test.cc))))
ALL_SOURCES := $(wildcard src/*/*.cc) $(wildcard tests/fuzz/*.cc) $(TOOL_SOURCES) $(SUPPORT_SOURCES) $(BENCH_SOURCES) \
  $(foreach r,$(TEST_ROOMS),$(wildcard tests/$r/*.cc))

# The rooms of src that a room's tests link, so that one can be built while others do not compile. Default: all.
TEST_USES_base := base
TEST_USES_interop := base
TEST_USES_netns := base
TEST_USES_walk := base
TEST_USES_cli := base cli
TEST_USES_async := base async
TEST_USES_env := base async env
TEST_USES_uring := base async env uring
TEST_USES_sim := base async env sim
TEST_USES_fault := base async env sim fault
TEST_USES_raid := base async cli env sim fault raid
TEST_USES_crash := base async env sim fault raid
TEST_USES_replica := base async env sim fault replica
TEST_USES_workload := base async env sim fault workload
test_uses = $(if $(filter-out undefined,$(origin TEST_USES_$1)),$(TEST_USES_$1),$(ROOMS))

# ---- parallel by default ---------------------------------------------------------------------------------------------
# GNU make 4.3 hides a -j given by the user from makefiles while they are read; the command line tells.
ifeq ($(MAKELEVEL),0)
  ifeq ($(filter -j% --jobs%,$(MAKEFLAGS) $(shell tr '\0' ' ' </proc/$$PPID/cmdline)),)
    MAKEFLAGS += -j$(shell nproc)
  endif
endif
# Several goals of which one installs packages or calls make itself: one after the other.
COMPOSITE_GOALS := deps check check-long quick test demo lint bench interop swarm words walk asan tsan clean format share install uninstall
ifneq ($(and $(filter $(COMPOSITE_GOALS),$(MAKECMDGOALS)),$(word 2,$(MAKECMDGOALS))),)
.NOTPARALLEL:
endif

.PHONY: reference all help $(COMPOSITE_GOALS) check-build quick-build FORCE
all: build/release/resilver

help:
	@awk '!/^#/{exit} {sub(/^# ?/, ""); print}' Makefile

# ---- compile and link, per variant -----------------------------------------------------------------------------------
# objects(variant, sources)
objects = $(patsubst %.cc,build/$1/obj/%.o,$2)
room_objects = $(call objects,$1,$(foreach r,$2,$(wildcard src/$r/*.cc)))

# The linker takes from the rooms' objects only what is needed, as from a static library but without making one.
# link(variant, first objects, lazily linked objects, libraries)
define link
@echo "LINK $@"
@mkdir -p $(@D)
@$(CXX) $(LDFLAGS_COMMON) $(LDFLAGS_$1) -o $@ $2 -Wl,--start-lib $3 -Wl,--end-lib $4
endef

# precompile(flags)
define precompile
@echo "PCH  $@"
@mkdir -p $(@D)
@$(CXX) $1 -x c++-header -MD -MP -MF $(@:.pch=.d) -o $@ $<
endef

define variant_rules
CXXFLAGS_all_$1 := $$(CXXFLAGS_COMMON) $$(CXXFLAGS_$1)
CXXFLAGS_test_$1 := $$(CXXFLAGS_all_$1) $$(CXXFLAGS_tests_$1)

# Rewritten only when the flags change: then everything of the variant is compiled again.
build/$1/flags: FORCE
	@command -v $$(CXX) >/dev/null || { echo "$$(CXX) is not installed: run 'make deps'" >&2; exit 1; }
	@mkdir -p $$(@D); echo '$$(CXX) $$(CXXFLAGS_test_$1)' | cmp -s - $$@ || echo '$$(CXX) $$(CXXFLAGS_test_$1)' >$$@

build/$1/pch/src/base/pch.pch: src/base/pch.h build/$1/flags
	$$(call precompile,$$(CXXFLAGS_all_$1))
build/$1/pch/tests/support/pch.pch: tests/support/pch.h build/$1/flags
	$$(call precompile,$$(CXXFLAGS_test_$1))
build/$1/pch/tests/support/plain.pch: tests/support/pch.h build/$1/flags
	$$(call precompile,$$(CXXFLAGS_test_$1) -O0)

build/$1/obj/tests/%.o: tests/%.cc build/$1/pch/tests/support/pch.pch build/$1/pch/tests/support/plain.pch
	@echo "CXX  $$@"
	@mkdir -p $$(@D)
	@$$(CXX) $$(CXXFLAGS_test_$1) $$(if $$(filter $$(PLAIN_TESTS),$$<),-O0 -include-pch build/$1/pch/tests/support/plain.pch,\
	  -include-pch build/$1/pch/tests/support/pch.pch) -MMD -MP -c -o $$@ $$<

build/$1/obj/%.o: %.cc build/$1/pch/src/base/pch.pch
	@echo "CXX  $$@"
	@mkdir -p $$(@D)
	@$$(CXX) $$(CXXFLAGS_all_$1) -include-pch build/$1/pch/src/base/pch.pch -MMD -MP -c -o $$@ $$<

build/$1/resilver: $$(call objects,$1,$$(TOOL_SOURCES)) $$(call room_objects,$1,$$(ROOMS))
	$$(call link,$1,$$(call objects,$1,$$(TOOL_SOURCES)),$$(call room_objects,$1,$$(ROOMS)),$$(LIBS))

$$(foreach r,$$(TEST_ROOMS),$$(eval $$(call test_rules,$1,$$r)))
$$(foreach b,$$(BENCH_SOURCES),$$(eval $$(call bench_rules,$1,$$b)))
endef

# test_rules(variant, room)
define test_rules
build/$1/tests/$2: $(call objects,$1,$(wildcard tests/$2/*.cc) $(SUPPORT_SOURCES)) $(call room_objects,$1,$(call test_uses,$2))
	$$(call link,$1,$(call room_objects,$1,$(call test_uses,$2)) $(call objects,$1,$(wildcard tests/$2/*.cc)),\
	  $(call objects,$1,$(SUPPORT_SOURCES)),$$(TEST_LIBS) $$(LIBS))
endef

# What boots the kernel that the interop tests talk to.
INTEROP_HELPERS := build/interop/uml_shim.so build/interop/guest_init
build/interop/uml_shim.so: tests/interop/uml_shim.c
	@mkdir -p $(@D)
	@$(CC_INTEROP) -shared -fPIC -o $@ $<
build/interop/guest_init: tests/interop/guest_init.c
	@mkdir -p $(@D)
	@$(CC_INTEROP) -static -o $@ $<
$(VARIANTS:%=build/%/tests/interop): $(INTEROP_HELPERS)

# fuzz_rules(target)
define fuzz_rules
build/fuzz/$1: $(call objects,fuzz,tests/fuzz/$1.cc $(call fuzz_uses,$1)) $(call objects,asan,$(FUZZ_NEEDS_$1))
	$$(call link,fuzz,$(call objects,fuzz,tests/fuzz/$1.cc),\
	  $(call objects,fuzz,$(call fuzz_uses,$1)) $(call objects,asan,$(FUZZ_NEEDS_$1)),$$(LIBS))
endef

# bench_rules(variant, source)
define bench_rules
build/$1/bench/$(basename $(notdir $2)): $(call objects,$1,$2) $(call room_objects,$1,$(ROOMS))
	$$(call link,$1,$(call objects,$1,$2),$(call room_objects,$1,$(ROOMS)),$$(LIBS))
endef

$(foreach v,$(VARIANTS),$(eval $(call variant_rules,$v)))

$(foreach t,$(FUZZ_TARGETS),$(eval $(call fuzz_rules,$t)))

-include $(foreach v,$(VARIANTS),$(patsubst %.o,%.d,$(call objects,$v,$(ALL_SOURCES))) \
  build/$v/pch/src/base/pch.d build/$v/pch/tests/support/pch.d build/$v/pch/tests/support/plain.d)

# ---- install packages ------------------------------------------------------------------------------------------------
deps:
	@command -v dpkg-query >/dev/null || { echo "deps: this is no Debian; install by hand: $(PACKAGES)" >&2; exit 1; }; \
	missing=; for p in $(PACKAGES); do \
	  [ "$$(dpkg-query -W -f='$${db:Status-Status}' $$p 2>/dev/null)" = installed ] || missing="$$missing $$p"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	sudo=; if [ "$$(id -u)" != 0 ]; then sudo=sudo; \
	  command -v sudo >/dev/null || { echo "deps: neither root nor sudo; install as root:$$missing" >&2; exit 1; }; fi; \
	echo "deps: installing Debian packages:$$missing"; mkdir -p build; \
	apt="$$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600"; \
	{ $$apt update && $$apt install -y --no-install-recommends $$missing; } >build/deps.log 2>&1 </dev/null || \
	  { tail -n 5 build/deps.log >&2; echo "deps: apt-get failed (all of it in build/deps.log); needed:$$missing" >&2; exit 1; }

# ---- tests -----------------------------------------------------------------------------------------------------------
TEST_BINARIES_asan := $(patsubst %,build/asan/tests/%,$(filter-out $(RELEASE_ROOMS),$(TEST_ROOMS)))
TEST_BINARIES_tsan := $(patsubst %,build/tsan/tests/%,$(filter $(TSAN_ROOMS),$(TEST_ROOMS)))
TEST_BINARIES_release := $(patsubst %,build/release/tests/%,$(filter $(RELEASE_ROOMS),$(TEST_ROOMS)))
ASAN_EXTRA = $(if $(filter swarm,$(TEST_ROOMS)),build/asan/tests/swarm$(COMMA)RESILVER_SWARM_SEEDS=$(SWARM_ASAN_SEEDS)$(COMMA)GTEST_FILTER=-Bugs/*)
COMMA := ,
# The replica room once more as it ships, with many seeds of its own swarm; planted bugs are searched there only.
REPLICA_SEEDS ?= 200
REPLICA_SWARM = $(if $(filter replica,$(TEST_ROOMS)),build/release/tests/replica$(COMMA)RESILVER_REPLICA_SEEDS=$(REPLICA_SEEDS))
# The slow ones first, so that the last minute keeps both cores busy.
FUZZ_RUN := tests/fuzz/run$(COMMA)FUZZ_SECONDS=$(FUZZ_CHECK_SECONDS)$(COMMA)FUZZ_JOBS=1$(COMMA)FUZZ_TARGETS=$(subst $() ,:,$(FUZZ_CHECK_TARGETS))
# What searches by the number of its runs does so as it ships, above.
REPLICA_ASAN = $(filter %/replica,$(TEST_BINARIES_asan))
REPLICA_ASAN_FILTER := $(COMMA)GTEST_FILTER=-Orderings.*:*FindsPlantedBug*:*FindTheRuleThatIsOff*:Day.*
CHECK_RUNS = $(TEST_BINARIES_release) $(REPLICA_SWARM) $(REPLICA_ASAN:%=%$(REPLICA_ASAN_FILTER)) $(ASAN_EXTRA) $(FUZZ_RUN) \
  $(filter-out $(REPLICA_ASAN),$(TEST_BINARIES_asan)) $(TEST_BINARIES_tsan)
run_binaries = $(sort $(foreach r,$1,$(firstword $(subst $(COMMA), ,$r))))

export TEST_TIMEOUT_S
export RESILVER_PROGRAM := build/release/resilver

check-build: $(if $(TOOL_SOURCES),build/release/resilver) $(call run_binaries,$(CHECK_RUNS)) $(FUZZ_CHECK_TARGETS:%=build/fuzz/%) ;

check:
	@$(MAKE) --no-print-directory deps
	@tests/run --step lint tests/lint/run --step build '$(MAKE) --no-print-directory check-build' \
	  --step generated tests/lint/generated --step words 'tests/words/check.py --plant --shipped --runs $(WORDS_RUNS)' -- $(CHECK_RUNS)

# What a change should pass before it is built in all variants.
QUICK_SCENARIOS := Scenarios/Shipped.*InVirtualTime*:KnownAnswers.*
QUICK_ROOMS := async base env fault raid replica report scenario_lang service sim workload
QUICK_RUNS = $(filter-out %/replica,$(QUICK_ROOMS:%=build/release/tests/%)) \
  build/release/tests/replica$(REPLICA_ASAN_FILTER)$(COMMA)RESILVER_REPLICA_SEEDS=20 \
  build/release/tests/swarm$(COMMA)GTEST_FILTER=Swarm.RandomScenarios$(COMMA)RESILVER_SWARM_SEEDS=20 \
  build/release/tests/scenario$(COMMA)GTEST_FILTER=$(QUICK_SCENARIOS)
quick-build: build/release/resilver $(call run_binaries,$(QUICK_RUNS)) ;
quick:
	@$(MAKE) --no-print-directory deps
	@tests/run --step lint tests/lint/run --step build '$(MAKE) --no-print-directory quick-build' -- $(QUICK_RUNS)

test:
	@[ -n "$(ROOM)" ] && [ -d "tests/$(ROOM)" ] || { echo "make test: ROOM is a folder of tests/: $(TEST_ROOMS)" >&2; exit 2; }
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory build/release/resilver build/$(VARIANT)/tests/$(ROOM)
	@build/$(VARIANT)/tests/$(ROOM) --gtest_filter='$(FILTER)'

compile_commands.json: $(ALL_SOURCES) Makefile
	@{ sep='['; for f in $(ALL_SOURCES); do \
	  printf '%s\n{"directory": "%s", "file": "%s", "command": "%s -c %s"}' "$$sep" "$(CURDIR)" "$$f" "$(CXX) $(CXXFLAGS_all_release)" "$$f"; \
	  sep=','; done; printf '\n]\n'; } >$@

check-long: export RESILVER_SWARM_SEEDS := 10000
check-long: export REPLICA_SEEDS := 10000
check-long: export RESILVER_INTEROP_FULL := 1
check-long: export RESILVER_CRASH_FULL := 1
check-long: export TEST_TIMEOUT_S := 14400
check-long: export WORDS_RUNS := 1000
check-long:
	@$(MAKE) --no-print-directory check

asan tsan:
	@$(MAKE) --no-print-directory deps
	@tests/run --step build '$(MAKE) --no-print-directory $(TEST_BINARIES_$@)' -- $(TEST_BINARIES_$@)

swarm:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory build/release/tests/swarm build/release/tests/replica
	@RESILVER_SWARM_SEEDS=$(N) RESILVER_SWARM_FIRST=$(SEED) RESILVER_SWARM_KIND=$(KIND) build/release/tests/swarm --gtest_filter='Swarm.RandomScenarios'
	@RESILVER_REPLICA_SEEDS=$(N) RESILVER_REPLICA_FIRST=$(SEED) build/release/tests/replica --gtest_filter='Swarm.*:Mishaps.*'

# docs/verbs.md and docs/scenario-keys.md, of the tables that the parser reads.
reference:
	@$(MAKE) --no-print-directory build/release/tests/scenario_lang
	@RESILVER_WRITE_REFERENCE=1 build/release/tests/scenario_lang --gtest_filter='Reference.TheDocs*'

words:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory build/release/resilver
	@tests/words/check.py --plant --shipped --runs $(N) --seed $(SEED)

walk:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory build/release/resilver build/release/tests/walk
	@tests/walk/run $(N) $(SEED) $(KIND)

interop:
	@$(MAKE) --no-print-directory deps
	@tests/run --step build '$(MAKE) --no-print-directory build/release/resilver build/release/tests/interop' -- \
	  build/release/tests/interop

fuzz:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory $(FUZZ_TARGETS:%=build/fuzz/%)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run

lint:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory build/release/resilver
	@tests/lint/run; code=$$?; tests/lint/generated && exit $$code

format:
	@$(MAKE) --no-print-directory deps
	@git ls-files -co --exclude-standard '*.cc' '*.h' | xargs -r -d '\n' clang-format-19 -i

# ---- run, measure, install -------------------------------------------------------------------------------------------
demo:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory build/release/resilver
	@build/release/resilver run scenarios/disk-then-server.toml --time real --fill $(FILL) --out build/demo

bench:
	@$(MAKE) --no-print-directory deps PACKAGES='$(PACKAGES) $(BENCH_PACKAGES)'
	@$(MAKE) --no-print-directory build/release/resilver $(patsubst tests/bench/%.cc,build/release/bench/%,$(BENCH_SOURCES))
	@tests/bench/run

share:
	@$(MAKE) --no-print-directory build/release/resilver
	rm -rf share
	build/release/resilver generate share

MAN_PAGES := $(patsubst share/man/%.scd,build/man/%,$(wildcard share/man/*.scd))
$(MAN_PAGES): build/man/%: share/man/%.scd
	@command -v scdoc >/dev/null || { echo "scdoc is not installed: run 'make deps'" >&2; exit 1; }
	@mkdir -p $(@D)
	@scdoc <$< >$@

# install_files(folder below PREFIX, files)
INSTALLED := $(DESTDIR)$(PREFIX)
define install_files
install -d $(INSTALLED)/$1
install -m 644 $2 $(INSTALLED)/$1
endef

install: build/release/resilver $(MAN_PAGES)
	install -D -m 755 build/release/resilver $(INSTALLED)/bin/resilver
	$(call install_files,share/resilver/scenarios,scenarios/*.toml)
	$(call install_files,share/man/man1,$(MAN_PAGES))
	$(call install_files,share/doc/resilver,README.md)
	$(call install_files,share/doc/resilver/docs,docs/*.md)
	install -D -m 644 share/completions/resilver.bash $(INSTALLED)/share/bash-completion/completions/resilver
	install -D -m 644 share/completions/_resilver $(INSTALLED)/share/zsh/site-functions/_resilver

uninstall:
	rm -f $(INSTALLED)/bin/resilver $(addprefix $(INSTALLED)/share/man/man1/,$(notdir $(MAN_PAGES)))
	rm -f $(INSTALLED)/share/bash-completion/completions/resilver $(INSTALLED)/share/zsh/site-functions/_resilver
	rm -rf $(INSTALLED)/share/resilver $(INSTALLED)/share/doc/resilver

clean:
	rm -rf build
