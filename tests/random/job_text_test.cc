// Job files as hurried people and broken programs write them: whatever the text, every fault is a
// complaint with its line, and a job that is accepted is one that servers can make tables of.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "proto/job_file.h"
#include "proto/limits.h"
#include "ps/initializer.h"
#include "ps/optimizer.h"
#include "ps/popularity.h"
#include "ps/popularity_code.h"
#include "ps/row_slots.h"
#include "ps/table.h"
#include "tests/proto/job_samples.h"
#include "tests/random/damage.h"

namespace emporium {
namespace {

using testing::Damage;

std::vector<std::string> Words(const std::string& text) {
  std::vector<std::string> words;  // and what stands between them
  for (size_t i = 0; i < text.size(); i += words.back().size()) {
    const bool blank = text[i] == ' ' || text[i] == '\n';
    const size_t end = blank ? i + 1 : std::min(text.find_first_of(" \n", i), text.size());
    words.push_back(text.substr(i, end - i));
  }
  return words;
}

// Another word in its place: a number, or one that stands elsewhere.
std::string OtherWord(Damage* damage, const std::vector<std::string>& words) {
  const char* const numbers[] = {
      "0",    "-1",  "1e300", "-1e-300", "nan",  "inf", "18446744073709551615",
      "1e38", "0.5", "65536", "4096",    "\"\"", "[]",  "{}"};
  if (damage->OneIn(2)) return numbers[damage->Below(std::size(numbers))];
  return words[damage->Below(words.size())];
}

std::string Damaged(Damage* damage, const std::string& whole) {
  std::vector<std::string> words = Words(whole);
  for (uint64_t edits = 1 + damage->Below(3); edits > 0; --edits) {
    std::string& word = words[damage->Below(words.size())];
    switch (damage->Below(4)) {
      case 0:
        word.clear();
        break;
      case 1:
        word += " " + OtherWord(damage, words);
        break;
      default:
        word = OtherWord(damage, words);
    }
  }
  std::string text;
  for (const std::string& word : words) text += word;
  if (damage->OneIn(4)) damage->Edit(&text);
  return text;
}

// What a server does first with a job.
void ExpectTables(const spec::Job& job) {
  for (const ps::TableSettings& table : ps::TablesOf(job)) {
    ASSERT_EQ(ps::MakeOptimizer(table.optimizer).status().ToString(), "ok");
    ASSERT_EQ(ps::Initializer::Make(table.initializer, table.seed).status().ToString(), "ok");
    const ps::Decay decay(std::max(table.half_life_steps, table.half_life_seconds));
    const ps::PopularityCode code(table.popularity_bytes);
    const ps::RowSlots slots(table.slots, table.event_time());
    ASSERT_TRUE(decay.Factor(1, 2) >= 0 && slots.slots() <= limits::kMaxSlots);
    ASSERT_TRUE(table.dim > 0 && table.dim <= limits::kMaxDim);
  }
}

TEST(DamagedJobs, EveryFaultIsAComplaintWithItsLine) {
  Damage damage(7);
  size_t accepted = 0;
  for (int round = 0; round < 4'000; ++round) {
    const std::string text =
        Damaged(&damage, damage.OneIn(2) ? testing::TwoTowerJob() : testing::DeepFmJob());
    const auto lines = static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 1;
    std::vector<Complaint> complaints;
    const Result<spec::Job> job = ParseJob(text, "job", &complaints);
    ASSERT_EQ(job.ok(), complaints.empty()) << text;
    for (const Complaint& complaint : complaints) {
      ASSERT_TRUE(complaint.line >= 1 && complaint.line <= lines) << complaint.ToString();
      ASSERT_FALSE(complaint.problem.empty() || complaint.advice.empty()) << text;
    }
    if (!job.ok()) continue;
    ++accepted;
    ASSERT_NO_FATAL_FAILURE(ExpectTables(*job)) << text;
  }
  EXPECT_GT(accepted, 100u);
}

// Braces in braces, of fields that exist and of others, up to the size that a job file may have.
TEST(DamagedJobs, DepthIsBounded) {
  const std::pair<const char*, const char*> nests[] = {
      {"", "table { "}, {"", "nonsense { "}, {"", "nonsense < "}, {"nonsense: ", "[ "}};
  for (const auto& [begin, inner] : nests) {
    std::string text = begin;
    while (text.size() + 16 < limits::kMaxJobFileBytes) text += inner;
    std::vector<Complaint> complaints;
    EXPECT_FALSE(ParseJob(text, "job", &complaints).ok());
    EXPECT_FALSE(complaints.empty());
  }
}

}  // namespace
}  // namespace emporium
