// Expectations: expressions over what a run measured.
//
//   expression := and-terms joined by `or`;  and-term := terms joined by `and`;  term := `not` term | comparison
//   comparison := sum [(<= < >= > == !=) sum];  sum := product {(+ -) product};  product := value {(* /) value}
//   value      := [CONTENDER.]MEASURE['(' 'EVENT' [, before|during|after] ')'] | literal | '(' expression ')'
//   literal    := 100ms | 64MiB | 60MiB/s | 10Gbit/s | 50% | 12 | 2.5 | never | down | true | false | 'a word'
//
// A measure without a contender means every contender: the expression must hold in each, those in which an event is n/a are
// left out. Three-valued: `n/a and false` is false, `n/a or true` is true, else n/a wins. never and down are larger than any
// other value and equal to each other. 0 needs no unit; other numbers do.
#pragma once

#include <cstddef>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scenario/measures.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

struct CompileError {
  std::size_t offset = 0;  // in the text of the expression
  std::string message;
};

namespace expect_detail {
struct Node;
}

// A checked expression: names known, units fit.
class Expression {
 public:
  explicit Expression(std::unique_ptr<expect_detail::Node> root);
  Expression(Expression&&) noexcept;
  Expression& operator=(Expression&&) noexcept;
  ~Expression();

  bool is_timing() const;                       // a comparison in it depends on how fast the machine is
  bool every_contender() const;                 // a measure without a contender is in it
  std::vector<std::string> contenders() const;  // that it names
  std::vector<std::string> events() const;      // that it names
  const expect_detail::Node& root() const { return *root_; }

 private:
  std::unique_ptr<expect_detail::Node> root_;
};

// Checks the expression against the scenario's contenders and events (those left out by --only count as known).
std::expected<Expression, CompileError> compile(std::string_view text, const Scenario& scenario);

// holds and fails are what they say; timing: it hangs on a comparison that must not be judged here; absent: n/a.
enum class Truth : std::uint8_t { holds, fails, timing, absent };

// Evaluates for one contender (whom measures without a prefix mean). `judge_timing` false: comparisons of times and rates
// count as not known.
Truth evaluate(const Expression& expression, const MeasureSource& source, std::string_view contender, bool judge_timing);

// "raid5: outage('disk dies') is 140 ms": the measures of the expression as they came out in this contender.
std::string explain(const Expression& expression, const MeasureSource& source, std::string_view contender);

struct JudgeOptions {
  bool real = false;
  bool strict_timing = false;  // judge times also in the real world
};

// Judges all expectations of the scenario, in the order of the file. Expectations were checked by the parser; one that does
// not compile counts as failed and says why.
std::vector<Verdict> judge(const Scenario& scenario, const MeasureSource& source, const JudgeOptions& options);

}  // namespace resilver::scenario
