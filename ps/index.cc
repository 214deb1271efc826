#include "ps/index.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "proto/check.h"
#include "proto/mix.h"
#include "proto/simd.h"

namespace emporium::ps {
namespace {

// Bins of the key space, at least: with fewer an entry would not keep enough of its key.
constexpr uint32_t kLeastBinBits = 10;
constexpr double kGrowth = 1.25;
constexpr double kFullest = 0.75;
constexpr uint32_t kMostBuckets = 1u << 28;

// What bins without entries point to.
const IndexBucket kEmptyBucket = {{kIndexFree, kIndexFree, kIndexFree, kIndexFree, kIndexFree,
                                   kIndexFree, kIndexFree, kIndexFree}};

constexpr uint64_t InverseOf(uint64_t odd) {
  uint64_t inverse = odd;  // right in the lowest three bits; each round doubles them
  for (int i = 0; i < 5; ++i) inverse *= 2 - odd * inverse;
  return inverse;
}

// MixBits backwards.
constexpr uint64_t UnmixKey(uint64_t h) {
  h ^= (h >> 31) ^ (h >> 62);
  h *= InverseOf(0x94d049bb133111ebu);
  h ^= (h >> 27) ^ (h >> 54);
  h *= InverseOf(0xbf58476d1ce4e5b9u);
  h ^= (h >> 30) ^ (h >> 60);
  return h;
}
static_assert(UnmixKey(MixBits(0x0123456789abcdefu)) == 0x0123456789abcdefu);

uint64_t NumberMask(const IndexBin& bin) { return (uint64_t{1} << bin.slot_bits) - 1; }

uint32_t MatchingLanes(const IndexBucket& bucket, uint64_t wanted, uint32_t bits) {
  uint32_t lanes = 0;
  for (uint32_t i = 0; i < kIndexLanes; ++i) {
    lanes |= (bucket.entries[i] ^ wanted) >> bits == 0 ? 1u << i : 0u;
  }
  return lanes;
}
uint32_t FreeLanes(const IndexBucket& bucket) { return MatchingLanes(bucket, kIndexFree, 0); }

}  // namespace

IndexFind* BestIndexFind() {
  switch (BestSimd()) {
    case SimdLevel::kAvx512:
      return IndexFindAvx512;
    case SimdLevel::kAvx2:
      return IndexFindAvx2;
    case SimdLevel::kPlain:
      break;
  }
  return IndexFindSse2;
}

Index::Index(uint32_t partitions, const std::vector<PartitionId>& owned, uint64_t seed,
             IndexFind* find, PageAhead* page_ahead)
    : find_(find), arena_(page_ahead) {
  EMPORIUM_CHECK(std::has_single_bit(partitions), "a power of two");
  partition_bits_ = static_cast<uint32_t>(std::countr_zero(partitions));
  bin_bits_ = std::max(partition_bits_, kLeastBinBits);
  const size_t bins = size_t{1} << bin_bits_;
  hot_.resize(bins);
  growth_.resize(bins);
  position_of_.assign(bins, kNotOwned);
  std::vector<bool> is_owned(partitions);
  for (PartitionId partition : owned) is_owned.at(partition.value()) = true;
  for (uint32_t bin = 0; bin < bins; ++bin) {
    if (!is_owned[bin >> (bin_bits_ - partition_bits_)]) continue;
    position_of_[bin] = static_cast<uint32_t>(bin_of_.size());
    bin_of_.push_back(bin);
  }
  const auto positions = std::max<uint64_t>(bin_of_.size(), 1);
  number_bits_ = std::min(32 - static_cast<uint32_t>(std::bit_width(positions - 1)), 31u);
  view_.bins = hot_.data();
  view_.bin_shift = 64 - bin_bits_;
  view_.multiplier = MixBits(seed) | 1;
  inverse_ = InverseOf(view_.multiplier);
  Clear();
}

uint64_t Index::Unmixed(uint64_t mixed) const {
  const uint64_t low = (uint64_t{1} << view_.bin_shift) - 1;
  return UnmixKey((mixed & ~low) | ((mixed * inverse_) & low));
}

Index::Bins Index::BinsOf(PartitionId partition) const {
  const uint32_t shift = bin_bits_ - partition_bits_;
  const uint32_t first = position_of_.at(size_t{partition.value()} << shift);
  if (first == kNotOwned) return {};
  return {first, first + (1u << shift)};
}

void Index::Find(std::span<const uint64_t> keys, std::span<Slot> slots) const {
  EMPORIUM_CHECK(keys.size() == slots.size(), "one slot per key");
  find_(view_, keys.data(), keys.size(), slots.data());
}

Slot Index::Find(uint64_t key) const {
  const uint64_t mixed = Mixed(key);
  const IndexBin& bin = hot_[BinOf(mixed)];
  const Place place = Locate(bin, mixed);
  if (place.bucket == nullptr) return kNoSlot;
  return bin.slot_base | static_cast<uint32_t>(place.bucket->entries[place.lane] & NumberMask(bin));
}

void Index::Insert(uint64_t key, Slot slot) {
  const uint64_t mixed = Mixed(key);
  const uint32_t b = BinOf(mixed);
  EMPORIUM_CHECK(position_of_[b] != kNotOwned && slot >> number_bits_ == position_of_[b],
                 "a slot lies in its key's bin");
  if (growth_[b].size >= growth_[b].limit) Grow(b);
  Place place = FreePlace(hot_[b], mixed);
  while (place.bucket == nullptr) {
    Grow(b);
    place = FreePlace(hot_[b], mixed);
  }
  const IndexBin& bin = hot_[b];
  const uint64_t number = slot & ((1u << number_bits_) - 1);
  EMPORIUM_CHECK(number < NumberMask(bin), "free rows are used before new ones");
  place.bucket->entries[place.lane] = (mixed << bin.slot_bits) | number;
  ++growth_[b].size;
  ++size_;
}

Slot Index::Erase(uint64_t key) {
  const uint64_t mixed = Mixed(key);
  const uint32_t b = BinOf(mixed);
  const IndexBin& bin = hot_[b];
  Place hole = Locate(bin, mixed);
  if (hole.bucket == nullptr) return kNoSlot;
  const Slot slot =
      bin.slot_base | static_cast<uint32_t>(hole.bucket->entries[hole.lane] & NumberMask(bin));
  --growth_[b].size;
  --size_;
  const IndexBucket* const end = bin.buckets + bin.count + bin.padding;
  while (true) {
    const bool had_room = FreeLanes(*hole.bucket) != 0;
    hole.bucket->entries[hole.lane] = kIndexFree;
    if (had_room) return slot;  // nothing behind a bucket with room has its home before it
    // The hole is filled with a later entry that may lie here, which leaves a hole there.
    Place filler;
    for (IndexBucket* at = hole.bucket + 1; at < end && filler.bucket == nullptr; ++at) {
      for (uint32_t lane = 0; lane < kIndexLanes; ++lane) {
        if (at->entries[lane] == kIndexFree) continue;
        if (Home(bin, MixedAt(b, at, lane)) > hole.bucket) continue;
        filler = {at, lane};
        break;
      }
      if (FreeLanes(*at) != 0) break;
    }
    if (filler.bucket == nullptr) return slot;
    hole.bucket->entries[hole.lane] = filler.bucket->entries[filler.lane];
    hole = filler;
  }
}

std::vector<Index::Entry> Index::List(uint32_t position) const {
  const uint32_t b = bin_of_.at(position);
  std::vector<Entry> entries;
  entries.reserve(growth_[b].size);
  ForEach(b, [&](uint64_t mixed, uint32_t number) {
    entries.push_back({Unmixed(mixed), hot_[b].slot_base | number});
  });
  return entries;
}

void Index::Rebuild(uint32_t position, std::span<const Entry> entries) {
  const uint32_t b = bin_of_.at(position);
  moving_.clear();
  for (const Entry& entry : entries) {
    EMPORIUM_CHECK(BinOf(Mixed(entry.key)) == b && entry.slot >> number_bits_ == position,
                   "keys and slots of this bin");
    moving_.push_back({Mixed(entry.key), entry.slot & ((1u << number_bits_) - 1)});
  }
  size_ -= growth_[b].size;
  size_ += moving_.size();
  Drop(b);
  growth_[b].size = static_cast<uint32_t>(moving_.size());
  if (moving_.empty()) return;
  uint32_t stage = 1;
  while (LimitOf(Buckets(b, stage)) < moving_.size()) ++stage;
  Build(b, stage);
}

uint64_t Index::fixed_bytes() const {
  return hot_.size() * sizeof(IndexBin) + growth_.size() * sizeof(Growth) +
         (position_of_.size() + bin_of_.size()) * sizeof(uint32_t);
}

void Index::Clear() {
  arena_.Clear();
  size_ = 0;
  for (uint32_t b = 0; b < hot_.size(); ++b) {
    hot_[b] = IndexBin();
    growth_[b] = Growth();
    SetEmpty(b);
  }
}

uint32_t Index::Buckets(uint32_t bin, uint32_t stage) const {
  // Staggered over the bins, so that they grow one after the other.
  const double part = static_cast<double>(bin) / static_cast<double>(hot_.size());
  const double buckets = std::pow(kGrowth, stage + part);
  EMPORIUM_CHECK(buckets < kMostBuckets, "a partition's keys spread over its buckets");
  return stage + static_cast<uint32_t>(buckets);  // `stage` makes small stages differ
}

uint32_t Index::LimitOf(uint32_t buckets) {
  return static_cast<uint32_t>(buckets * kIndexLanes * kFullest);
}

uint64_t Index::MixedAt(uint32_t b, const IndexBucket* bucket, uint32_t lane) const {
  const IndexBin& bin = hot_[b];
  const uint64_t kept = bucket->entries[lane] >> bin.slot_bits;
  // Of `place`, the lower bits are kept; the home is one of the last kReach buckets up to here, and
  // one place there has these bits.
  const uint32_t rest_bits = view_.bin_shift - 32;
  const uint32_t place_bits = std::min(64 - bin.slot_bits - rest_bits, 32u);
  const uint64_t mask = (uint64_t{1} << place_bits) - 1;
  const auto at = static_cast<uint64_t>(bucket - bin.buckets);
  const uint64_t first_home = at < kReach ? 0 : at - (kReach - 1);
  const uint64_t first_place = ((first_home << 32) + bin.count - 1) / bin.count;
  const uint64_t place = first_place + (((kept >> rest_bits) - first_place) & mask);
  const uint64_t rest = kept & ((uint64_t{1} << rest_bits) - 1);
  return (uint64_t{b} << view_.bin_shift) | (place << rest_bits) | rest;
}

Index::Place Index::Locate(const IndexBin& bin, uint64_t mixed) const {
  const uint64_t wanted = mixed << bin.slot_bits;
  const IndexBucket* const end = bin.buckets + bin.count + bin.padding;
  for (IndexBucket* bucket = Home(bin, mixed); bucket < end; ++bucket) {
    const uint32_t free = FreeLanes(*bucket);
    const uint32_t lanes = MatchingLanes(*bucket, wanted, bin.slot_bits) & ~free;
    if (lanes != 0) return {bucket, static_cast<uint32_t>(std::countr_zero(lanes))};
    if (free != 0) break;
  }
  return {};
}

Index::Place Index::FreePlace(const IndexBin& bin, uint64_t mixed) const {
  IndexBucket* const home = Home(bin, mixed);
  IndexBucket* const end = std::min(home + kReach, bin.buckets + bin.count + bin.padding);
  for (IndexBucket* bucket = home; bucket < end; ++bucket) {
    const uint32_t lanes = FreeLanes(*bucket);
    if (lanes != 0) return {bucket, static_cast<uint32_t>(std::countr_zero(lanes))};
  }
  return {};
}

template <class Visit>
void Index::ForEach(uint32_t b, const Visit& visit) const {
  const IndexBin& bin = hot_[b];
  for (const IndexBucket* at = bin.buckets; at < bin.buckets + bin.count + bin.padding; ++at) {
    for (uint32_t lane = 0; lane < kIndexLanes; ++lane) {
      if (at->entries[lane] == kIndexFree) continue;
      visit(MixedAt(b, at, lane), static_cast<uint32_t>(at->entries[lane] & NumberMask(bin)));
    }
  }
}

void Index::Grow(uint32_t b) {
  moving_.clear();
  ForEach(b, [this](uint64_t mixed, uint32_t number) { moving_.push_back({mixed, number}); });
  const uint32_t stage = growth_[b].stage + 1;
  Drop(b);
  Build(b, stage);
}

void Index::Build(uint32_t b, uint32_t stage) {
  for (;; ++stage) {
    const uint32_t buckets = Buckets(b, stage);
    const uint32_t padding = Padding(buckets);
    const size_t bytes = sizeof(IndexBucket) * (buckets + padding);
    IndexBin& bin = hot_[b];
    bin.buckets = reinterpret_cast<IndexBucket*>(arena_.Allocate(bytes));
    std::memset(static_cast<void*>(bin.buckets), 0xff, bytes);
    bin.count = buckets;
    bin.padding = padding;
    bin.slot_bits = static_cast<uint32_t>(std::bit_width((buckets + padding) * kIndexLanes));
    growth_[b].stage = stage;
    growth_[b].limit = LimitOf(buckets);
    const bool fits = std::all_of(moving_.begin(), moving_.end(), [&](const Moving& entry) {
      const Place place = FreePlace(bin, entry.mixed);
      if (place.bucket == nullptr) return false;
      EMPORIUM_CHECK(entry.number < NumberMask(bin), "free rows are used before new ones");
      place.bucket->entries[place.lane] = (entry.mixed << bin.slot_bits) | entry.number;
      return true;
    });
    if (fits) return;
    Drop(b);
  }
}

void Index::Drop(uint32_t b) {
  const IndexBin& bin = hot_[b];
  if (growth_[b].stage > 0) {
    arena_.Free(reinterpret_cast<std::byte*>(bin.buckets),
                sizeof(IndexBucket) * (bin.count + bin.padding));
  }
  SetEmpty(b);
}

void Index::SetEmpty(uint32_t b) {
  IndexBin& bin = hot_[b];
  // Never written: a bin at stage 0 has no room, so that it grows before its first entry.
  bin.buckets = const_cast<IndexBucket*>(&kEmptyBucket);
  bin.count = 1;
  bin.padding = 0;
  bin.slot_bits = 1;
  bin.slot_base = position_of_[b] == kNotOwned ? 0 : position_of_[b] << number_bits_;
  growth_[b].stage = 0;
  growth_[b].limit = 0;
}

}  // namespace emporium::ps
