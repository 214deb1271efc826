// Memory that is made ready ahead of need: it is neither lost nor used twice, whoever comes first.
#include "ps/page_ahead.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "ps/arena.h"
#include "ps/table.h"
#include "tests/ps/table_parts.h"

namespace emporium::ps {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

// Mapped, not yet given by the kernel.
class Pages {
 public:
  explicit Pages(size_t bytes)
      : bytes_(bytes),
        begin_(static_cast<std::byte*>(
            mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {}
  ~Pages() { munmap(begin_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  std::byte* begin() const { return begin_; }
  size_t resident() const {
    std::vector<unsigned char> pages(bytes_ / 4096);
    EXPECT_EQ(mincore(begin_, bytes_, pages.data()), 0);
    return 4096 * static_cast<size_t>(std::count_if(pages.begin(), pages.end(),
                                                    [](unsigned char page) { return page & 1; }));
  }

 private:
  const size_t bytes_;
  std::byte* const begin_;
};

TEST(PageAheadTest, GetsThePagesOfARangeAndLeavesWhatIsWritten) {
  const Pages pages(4 * kMiB);
  PageAhead ahead;
  pages.begin()[5] = std::byte{7};
  ASSERT_TRUE(ahead.Populate(pages.begin(), 2 * kMiB));
  ahead.WaitUntilIdle();
  EXPECT_FALSE(ahead.IsPending(pages.begin()));
  EXPECT_EQ(pages.begin()[5], std::byte{7});
  EXPECT_GE(pages.resident(), 2 * kMiB);
}

TEST(PageAheadTest, CancelForgetsWhatWaits) {
  PageAhead ahead;
  const Pages first(64 * kMiB);
  const Pages second(64 * kMiB);
  for (size_t at = 0; at < 64 * kMiB; at += 2 * kMiB) {
    ASSERT_TRUE(ahead.Populate(first.begin() + at, 2 * kMiB));
    ASSERT_TRUE(ahead.Populate(second.begin() + at, 2 * kMiB));
  }
  ahead.Cancel(first.begin(), 64 * kMiB);
  for (size_t at = 0; at < 64 * kMiB; at += 2 * kMiB) {
    ASSERT_FALSE(ahead.IsPending(first.begin() + at));
  }
  const size_t then = first.resident();
  ahead.Cancel(second.begin(), 62 * kMiB);
  ahead.WaitUntilIdle();
  EXPECT_EQ(first.resident(), then);
  EXPECT_GE(second.resident(), 2 * kMiB);
}

TEST(PageAheadTest, ABoundedNumberWaits) {
  const Pages pages(2 * kMiB);
  PageAhead ahead;
  size_t accepted = 0;
  while (accepted < 100'000 && ahead.Populate(pages.begin(), 2 * kMiB)) ++accepted;
  EXPECT_GE(accepted, PageAhead::kMostWaiting);
  ahead.Cancel(pages.begin(), 2 * kMiB);
  EXPECT_TRUE(ahead.Populate(pages.begin(), 2 * kMiB));
  ahead.Cancel(pages.begin(), 2 * kMiB);
}

TEST(ArenaAheadTest, ASmallArenaAsksForNothing) {
  PageAhead ahead;
  Arena arena(&ahead);
  while (arena.used() + 4096 < Arena::kLeastUsed) arena.Allocate(4096);
  EXPECT_EQ(arena.ahead(), 0u);
}

TEST(ArenaAheadTest, ResidentIsWhatTheKernelSays) {
  PageAhead ahead;
  Arena arena(&ahead);
  const auto before = static_cast<double>(ResidentBytes());
  while (arena.used() < 160 * kMiB) std::memset(arena.Allocate(17'000), 1, 17'000);
  EXPECT_GE(arena.ahead(), 4 * Arena::kHugePage);
  EXPECT_LE(arena.ahead(), 8 * kMiB + arena.used() / 32);
  EXPECT_LE(arena.resident(), arena.used() + arena.ahead() + 4 * kMiB);
  ahead.WaitUntilIdle();
  const double resident = static_cast<double>(ResidentBytes()) - before;
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the thread sanitizer has memory of its own for each page";
#endif
  EXPECT_NEAR(static_cast<double>(arena.resident()) / resident, 1, 0.02);
}

TEST(ArenaAheadTest, BlocksStayWhatTheyAreAndAShrunkArenaKeepsNothingAhead) {
  struct Block {
    std::byte* begin;
    size_t bytes;
    int fill;
  };
  PageAhead ahead;
  Arena arena(&ahead);
  std::vector<Block> blocks;
  std::mt19937_64 random(5);
  for (int i = 0; i < 6000; ++i) {
    if (blocks.empty() || random() % 8 < (i % 2000 < 1400 ? 6 : 1)) {
      const size_t bytes = 1 + random() % 40'000;
      blocks.push_back({arena.Allocate(bytes), bytes, static_cast<int>(random() % 256)});
      std::memset(blocks.back().begin, blocks.back().fill, bytes);
    } else {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      const auto [begin, bytes, fill] = blocks.back();
      const auto value = static_cast<std::byte>(fill);
      ASSERT_TRUE(std::all_of(begin, begin + bytes, [=](std::byte b) { return b == value; }));
      arena.Free(begin, bytes);
      blocks.pop_back();
    }
    ASSERT_GE(arena.resident(), arena.used() + arena.ahead());
  }
  for (const auto& [begin, bytes, fill] : blocks) arena.Free(begin, bytes);
  EXPECT_EQ(arena.ahead(), 0u);
  EXPECT_LE(arena.resident(), 3 * Arena::kHugePage);
}

TEST(TableAheadTest, RowsAreTheSameWithAndWithout) {
  constexpr uint32_t kPartitions = 16;
  TableSettings settings;
  settings.dim = 64;
  settings.seed = 3;
  settings.optimizer.mutable_rowwise_adagrad();
  settings.initializer.mutable_normal()->set_stddev(0.1f);
  PageAhead ahead;
  Table alone(settings, kPartitions, Range(0, kPartitions));
  for (int round = 0; round < 3; ++round) {
    // Destroyed and cleared while pages are asked for.
    Table table(settings, kPartitions, Range(0, kPartitions), &ahead);
    std::vector<uint64_t> keys(5000);
    std::vector<Slot> slots(keys.size());
    for (uint64_t next = 0; next < 60'000; next += keys.size()) {
      for (size_t i = 0; i < keys.size(); ++i) keys[i] = (next + i) * 0x9e3779b97f4a7c15u;
      table.FindOrCreate(keys, slots);
      if (round == 2) alone.FindOrCreate(keys, slots);
      if (round == 1 && next == 40'000) table.Clear();
    }
    if (round < 2) continue;
    for (const PartitionId partition : Range(0, kPartitions)) {
      std::vector<std::pair<uint64_t, std::vector<float>>> rows;
      alone.ForEachRow(partition, [&](const RowView& row) {
        rows.emplace_back(row.key, std::vector<float>(row.weights.begin(), row.weights.end()));
      });
      size_t at = 0;
      table.ForEachRow(partition, [&](const RowView& row) {
        ASSERT_LT(at, rows.size());
        ASSERT_EQ(row.key, rows[at].first);
        ASSERT_TRUE(std::equal(row.weights.begin(), row.weights.end(), rows[at].second.begin()));
        ++at;
      });
      ASSERT_EQ(at, rows.size());
    }
  }
}

}  // namespace
}  // namespace emporium::ps
