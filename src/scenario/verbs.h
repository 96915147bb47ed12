// The verbs of events, one row each. The parser, `show`, the rules of validate.cc and charge.cc, the real fleet and
// docs/verbs.md (reference.h) read this table; who carries a verb out: timeline.cc.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scenario/scenario.h"

namespace resilver::scenario {

class TableReader;

// What a verb is told beside its target and its end.
struct VerbArgument {
  std::string_view key;
  std::string_view values;      // "1 to 100000"
  std::string_view by_default;  // empty: it must be given
  std::string_view meaning;
  void (*read)(TableReader& keys, std::string_view key, VerbArguments& into);  // only if it is given
  std::string (*text)(const VerbArguments& arguments);  // its value, in words; empty: it was left out
};

struct VerbInfo {
  Verb verb;
  std::string_view name;  // "disk.fail"
  TargetKind target;
  bool lasts;  // may be ended by `for` or `until`
  std::span<const VerbArgument> arguments;
  std::string_view meaning;            // one line
  std::string_view in_virtual;         // fidelity in virtual time
  std::string_view in_real;            // fidelity in the real world; "n/a: ...": there is no such thing
  bool takes_or_gives_back = false;    // a disk, a node: redundancy changes with it (charge.h)
  bool at_journals = false;            // also at the journal disk
  bool loses_caches = false;           // what disks have not flushed is gone
  bool must_end = false;               // `for` must be given
  std::string_view needs_one_of = {};  // "factor, add or bandwidth": at least one of its arguments
  const VerbArgument* find(std::string_view key) const;
};

const std::vector<VerbInfo>& verb_table();
const VerbInfo& verb_info(Verb verb);

}  // namespace resilver::scenario
