// Complaints of ValidateJob about slots: one change to a valid job each, and the line that it must
// cause.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "tests/proto/job_samples.h"

namespace emporium {
namespace {

using testing::ComplaintsOf;
using testing::DeepFmJob;
using testing::Replaced;

// One line a slot and an input; table[1] begins on line 7.
std::string SlotsJob() {
  std::string job = Replaced(DeepFmJob(), "  optimizer { adam {} }\n", R"(  optimizer { adam {} }
  popularity { half_life_days: 7 }
  slot { name: "show" fades: true }
  slot { name: "click" half_life_days: 2 when { column: "action" value: "click" value: "tap" } }
  slot { name: "paid" column: "bid" when { column: "kind" value: "3" } }
  slot { name: "first" column: "time" update: MIN }
  slot { name: "low" column: "bid" update: MIN }
)");
  job = Replaced(job, "    column { name: \"click\" type: INT }\n",
                 R"(    column { name: "click" type: INT }
    column { name: "time" type: INT }
    column { name: "action" }
    column { name: "kind" type: INT }
)");
  job = Replaced(job, "label_column: \"click\"", "label_column: \"click\" time_column: \"time\"");
  return Replaced(job, "column: \"ad\" table: \"deep\" }", R"(column: "ad" table: "deep"
  slot_input { slot: "show" as: IIF }
  slot_input { slot: "click" log1p: true }
  slot_input { slot: "first" as: AGE }
})");
}

TEST(ValidateSlotsJob, AcceptsCountersTimesAndWhatIsDerived) {
  EXPECT_THAT(ComplaintsOf(SlotsJob()), ::testing::IsEmpty());
  EXPECT_THAT(ComplaintsOf(Replaced(SlotsJob(), "half_life_days: 7 }", "}\n")),
              ::testing::Contains(::testing::HasSubstr("slot[0].fades: the table's popularity")));
}

struct Case {
  const char* from;
  const char* to;
  const char* expected;  // part of one of the complaints
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.from << " -> " << c.to; }

class ValidateSlots : public ::testing::TestWithParam<Case> {};

TEST_P(ValidateSlots, Complains) {
  const Case c = GetParam();
  EXPECT_THAT(ComplaintsOf(Replaced(SlotsJob(), c.from, c.to)),
              ::testing::Contains(::testing::HasSubstr(c.expected)));
}

constexpr Case kCases[] = {
    {"column: \"action\" value", "column: \"bid\" value",
     "job:13: table[1].slot[1].when.column: \"bid\" is no STRING or INT column of data.events"},
    {"column: \"action\" value", "column: \"time\" value",
     "table[1].slot[1].when.column: \"time\" is no STRING or INT column"},
    {"column: \"action\" value", "value", "slot[1].when.column: \"\" is no STRING or INT column"},
    {" value: \"click\" value: \"tap\"", "", "slot[1].when.value: is missing; say which events"},
    {"value: \"tap\"", "value: \"click\"", "slot[1].when.value[1]: \"click\" is given twice"},
    {"value: \"3\"", "value: \"3a\"",
     "job:14: table[1].slot[2].when.value[0]: \"3a\" is no number, but the column is INT"},
    {"\"click\" half_life_days: 2", "\"click\" half_life_days: -2",
     "slot[1].half_life_days: -2 is below 0"},
    {"\"click\" half_life_days: 2", "\"click\" half_life_days: 2 fades: true",
     "slot[1].half_life_days: the slot has more than one half life"},
    {"\"click\" half_life_days: 2", "\"click\" half_life_steps: 2",
     "slot[1].half_life_steps: other counts of the table fade by another clock; give all"},
    {"\"click\" half_life_days: 2", "\"click\" half_life_days: 2 initial: 1",
     "slot[1].initial: what fades starts from 0; remove it"},
    {"popularity { half_life_days: 7 }\n", "\n",
     "slot[1].half_life_days: needs popularity, whose clock it shares; set popularity {}"},
    {" time_column: \"time\"", "",
     "slot[1].half_life_days: the events have no time; set data.time"},
    {"column: \"time\" update: MIN", "column: \"time\" update: EMA",
     "job:15: table[1].slot[3].update: times are not added up and have no mean; use MIN, MAX or"},
    {"column: \"time\" update: MIN", "column: \"time\" update: MIN initial: 4",
     "slot[3].initial: before the first event there is no time; remove it"},
    {"column: \"time\" update: MIN", "column: \"time\" update: MIN half_life_days: 1",
     "slot[3].half_life_days: only what is added up fades"},
    {"slot: \"show\" as: IIF", "slot: \"low\" as: IIF",
     "feature[0].slot_input[0].as: only counters, whose update is ADD, have a total; use VALUE"},
    {"slot: \"show\" as: IIF", "slot: \"show\" as: AGE",
     "slot_input[0].as: the slot holds no time; use another form, or a slot of the time column"},
    {"slot: \"show\" as: IIF", "slot: \"show\" as: IIF log1p: true",
     "slot_input[0].log1p: is for the value itself; remove it"},
    {"slot: \"first\" as: AGE", "slot: \"first\"",
     "feature[0].slot_input[2].as: a time enters as its age; use AGE"},
    {"slot: \"first\" as: AGE", "slot: \"frist\" as: AGE",
     "slot_input[2].slot: the feature's table has no slot \"frist\"; did you mean \"first\"?"},
};
INSTANTIATE_TEST_SUITE_P(Slots, ValidateSlots, ::testing::ValuesIn(kCases));

}  // namespace
}  // namespace emporium
