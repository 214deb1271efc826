// Cuts of a table: taking one, copying its rows aside before they change, copying the others.
#include "ps/table_cut.h"

#include <algorithm>
#include <utility>

#include "proto/check.h"
#include "proto/planted_bug.h"
#include "ps/table_impl.h"
#include "runtime/route.h"

namespace emporium::ps {
namespace {

// Keys that went and are remembered: so many, and a share of the rows; beyond it all rows are
// written.
constexpr uint64_t kLeastGone = 1 << 16;
constexpr uint64_t kGoneShare = 8;

}  // namespace

void RowChanges::Gone(uint64_t key, uint64_t rows_there) {
  if (gone.size() >= std::max(kLeastGone, rows_there / kGoneShare)) {
    unknown = true;
    gone = {};
  }
  if (!unknown) gone.push_back(key);
}

// ---- The copying -------------------------------------------------------------------------------

TableCut::TableCut(const Index& index, std::vector<Index::Bins> order, RowBits* changed)
    : number_bits_(index.number_bits()),
      order_(std::move(order)),
      all_(changed == nullptr),
      rows_(changed != nullptr ? std::move(*changed) : RowBits(index.bins(), number_bits_)),
      copied_(index.bins(), false),
      kept_(index.bins()) {
  if (!order_.empty()) bin_ = order_[0].begin;
}

void TableCut::Keep(uint64_t key, Slot slot, const Slabs& slabs) {
  if (!Awaits(slot) || Planted(PlantedBug::kKeepsNothingAside)) return;
  Settle(slot);
  const size_t bytes = RecordBytes(slabs.shape());
  std::vector<std::byte>& kept = kept_[slot >> number_bits_];
  kept.resize(kept.size() + bytes);
  kept_bytes_ += bytes;
  const Slabs::ConstRowRef row = slabs.At(slot);
  std::byte* const to = kept.data() + kept.size() - bytes;
  WriteRecord(slabs.shape(), key, row.weights, row.tail, to);
}

void TableCut::Settle(Slot slot) {
  if (copied_[slot >> number_bits_]) return;
  if (all_) {
    rows_.Set(slot);
  } else {
    rows_.Clear(slot);
  }
}

void TableCut::Renumber(uint32_t bin, std::span<const Slot> before) {
  rows_.Renumber(bin, before);
  if (bin == bin_) listed_ = false;  // listed again; what has been copied is settled
}

bool TableCut::NextPiece(const Index& index, const Slabs& slabs, size_t bytes, CutPiece* piece) {
  if (complete()) return false;
  const size_t record = RecordBytes(slabs.shape());
  piece->last = false;
  piece->rows.clear();
  piece->rows.reserve(bytes + record);
  for (; bin_ < order_[partition_].end; ++bin_) {
    if (!std::exchange(listed_, true)) {
      entries_ = index.List(bin_);
      next_entry_ = 0;
    }
    for (; next_entry_ < entries_.size(); ++next_entry_) {
      const Index::Entry& entry = entries_[next_entry_];
      if (!Awaits(entry.slot)) continue;
      if (piece->rows.size() >= bytes) return true;
      const size_t at = piece->rows.size();
      piece->rows.resize(at + record);
      const Slabs::ConstRowRef row = slabs.At(entry.slot);
      WriteRecord(slabs.shape(), entry.key, row.weights, row.tail, piece->rows.data() + at);
      Settle(entry.slot);
    }
    FinishBin(piece);
  }
  piece->last = true;
  ++partition_;
  if (!complete()) bin_ = order_[partition_].begin;
  return true;
}

void TableCut::FinishBin(CutPiece* piece) {
  const std::vector<std::byte> kept = std::exchange(kept_[bin_], {});
  piece->rows.insert(piece->rows.end(), kept.begin(), kept.end());
  kept_bytes_ -= kept.size();
  copied_[bin_] = true;
  rows_.ClearBin(bin_);
  entries_ = {};
  listed_ = false;
}

// ---- The table ---------------------------------------------------------------------------------

void Table::Impl::BeforeChange(std::span<const uint64_t> keys, std::span<const Slot> slots) {
  if (changes.has_value() && !changes->unknown) {
    for (const Slot slot : slots) {
      if (slot != kNoSlot) changes->rows.Set(slot);
    }
  }
  if (!cut.has_value()) return;
  EMPORIUM_CHECK(keys.size() == slots.size(), "rows of a cut are kept with their keys");
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] != kNoSlot) cut->Keep(keys[i], slots[i], slabs);
  }
}

void Table::Impl::BeforeErase(uint64_t key, Slot slot) {
  if (cut.has_value()) cut->Keep(key, slot, slabs);
  if (!changes.has_value() || changes->unknown) return;
  changes->rows.Clear(slot);
  changes->Gone(key, index.size());
}

void Table::Impl::AfterOccupy(Slot slot) {
  if (cut.has_value()) cut->Settle(slot);
  if (changes.has_value() && !changes->unknown) changes->rows.Set(slot);
}

void Table::Impl::AfterMove(uint32_t bin, std::span<const Slot> before) {
  if (cut.has_value()) cut->Renumber(bin, before);
  if (changes.has_value()) changes->rows.Renumber(bin, before);
}

void Table::FollowChanges() {
  impl_->changes.emplace(impl_->index.bins(), impl_->index.number_bits());
}

bool Table::KnowsChanges() const { return impl_->changes.has_value() && !impl_->changes->unknown; }

CutTable Table::BeginCut(const std::vector<PartitionId>& partitions, bool changes) {
  Impl& t = *impl_;
  EMPORIUM_CHECK(!changes || KnowsChanges(), "changes are known that were followed");
  CutTable facts;
  facts.id = t.settings.id;
  facts.name = t.settings.name;
  facts.layout = t.layout();
  facts.total = t.total;
  facts.rows = changes ? t.changes->rows.Count() : t.index.size();
  std::vector<Index::Bins> order;
  order.reserve(partitions.size());
  for (const PartitionId p : partitions) order.push_back(t.index.BinsOf(p));
  if (changes) {
    const auto place = [&t](uint64_t key) {
      return std::pair(runtime::PartitionOf(key, t.partitions).value(), key);
    };
    std::vector<uint64_t>& gone = t.changes->gone;
    std::sort(gone.begin(), gone.end(),
              [&place](uint64_t a, uint64_t b) { return place(a) < place(b); });
    gone.erase(std::unique(gone.begin(), gone.end()), gone.end());
    facts.gone_offset.push_back(0);
    for (const PartitionId p : partitions) {
      uint64_t end = facts.gone_offset.back();
      while (end < gone.size() && place(gone[end]).first == p.value()) ++end;
      facts.gone_offset.push_back(end);
    }
    facts.gone = std::move(gone);
  }
  if (t.admission.has_value()) {
    facts.sketch_width = t.admission->width();
    for (const PartitionId p : partitions) {
      const std::span<const uint8_t> cells = t.admission->cells(p);
      facts.sketch.insert(facts.sketch.end(), cells.begin(), cells.end());
      facts.sketch_held.push_back(t.admission->held(p));
    }
  }
  t.cut.emplace(t.index, std::move(order), changes ? &t.changes->rows : nullptr);
  if (t.changes.has_value()) {
    FollowChanges();
    t.changes->unknown = false;
  }
  return facts;
}

bool Table::NextPiece(size_t bytes, CutPiece* piece) {
  Impl& t = *impl_;
  if (!cutting()) return false;
  const bool any = t.cut->NextPiece(t.index, t.slabs, bytes, piece);
  if (t.cut->complete()) EndCut();
  return any;
}

bool Table::cutting() const { return impl_->cut.has_value(); }

void Table::EndCut() { impl_->cut.reset(); }

uint64_t Table::cut_bytes() const { return impl_->cut.has_value() ? impl_->cut->bytes() : 0; }

}  // namespace emporium::ps
