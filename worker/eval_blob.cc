#include "worker/eval_blob.h"

#include <cmath>

#include "models/metrics.h"
#include "worker/blob.h"

namespace emporium::worker {

namespace {

constexpr uint32_t kMagic = 0x31564d45;  // "EMV1"
constexpr uint32_t kVersion = 3;
constexpr uint32_t kRanking = 1;
constexpr uint32_t kPointwise = 2;

void PutHead(uint32_t kind, BlobWriter* out) {
  out->Put(kMagic);
  out->Put(kVersion);
  out->Put(kind);
}

void PutText(const std::string& text, BlobWriter* out) {
  out->Put(static_cast<uint32_t>(text.size()));
  out->PutAll(std::span<const char>(text));
}

std::string GetText(BlobReader* in) {
  const std::vector<char> text = in->GetAll<char>(in->Get<uint32_t>());
  return std::string(text.begin(), text.end());
}

Status Bad(const char* what) {
  return DataLoss(std::string("result of an evaluation chunk: ") + what +
                  "; the workers may run different versions of Emporium");
}

Status CheckHead(uint32_t kind, BlobReader* in) {
  if (in->Get<uint32_t>() != kMagic) return Bad("not such a result");
  if (in->Get<uint32_t>() != kVersion) return Bad("of another format version");
  if (in->Get<uint32_t>() != kind) return Bad("of the other kind of model");
  return Status::Ok();
}

bool AllFinite(const auto& values) {
  for (const auto value : values) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

}  // namespace

std::string Encode(const RankingChunk& chunk) {
  BlobWriter out;
  PutHead(kRanking, &out);
  out.Put(static_cast<uint32_t>(chunk.cutoffs.size()));
  out.PutAll(std::span<const uint32_t>(chunk.cutoffs));
  out.Put(static_cast<uint32_t>(chunk.groups.size()));
  for (const RankingGroup& group : chunk.groups) {
    PutText(group.ranker, &out);
    out.Put(group.column);
    PutText(group.value, &out);
    out.PutAll(std::span<const double>(group.sums));
  }
  return out.Take();
}

std::string Encode(const PointwiseChunk& chunk) {
  BlobWriter out;
  PutHead(kPointwise, &out);
  out.Put(chunk.rows);
  out.Put(static_cast<uint32_t>(chunk.rows == 0 ? 0 : chunk.logits.size() / chunk.rows));
  out.PutAll(std::span<const float>(chunk.logits));
  out.PutAll(std::span<const float>(chunk.labels));
  out.Put(static_cast<uint32_t>(chunk.group.size()));
  for (const std::vector<uint64_t>& group : chunk.group) {
    out.PutAll(std::span<const uint64_t>(group));
  }
  out.Put(static_cast<uint32_t>(chunk.popularity_bucket.size()));
  out.PutAll(std::span<const uint8_t>(chunk.popularity_bucket));
  out.Put(static_cast<uint32_t>(chunk.rank.size()));
  out.PutAll(std::span<const uint32_t>(chunk.rank));
  out.Put(static_cast<uint32_t>(chunk.columns.size()));
  for (const PointwiseChunk::Column& column : chunk.columns) {
    out.Put(static_cast<uint32_t>(column.values.size()));
    for (const std::string& value : column.values) PutText(value, &out);
    out.PutAll(std::span<const uint32_t>(column.value));
  }
  return out.Take();
}

Result<RankingChunk> DecodeRanking(std::string_view bytes) {
  BlobReader in(bytes);
  EMPORIUM_RETURN_IF_ERROR(CheckHead(kRanking, &in));
  RankingChunk chunk;
  chunk.cutoffs = in.GetAll<uint32_t>(in.Get<uint32_t>());
  const auto groups = in.Get<uint32_t>();
  // Every group takes bytes, so a count that lies runs into the end of the blob.
  for (uint32_t g = 0; g < groups && in.ok(); ++g) {
    RankingGroup group;
    group.ranker = GetText(&in);
    group.column = in.Get<int32_t>();
    group.value = GetText(&in);
    group.sums = in.GetAll<double>(models::RankingSums::Size(chunk.cutoffs.size()));
    if (!AllFinite(group.sums)) return Bad("a sum is not a finite number");
    chunk.groups.push_back(std::move(group));
  }
  if (!in.done()) return Bad("cut short or with bytes left over");
  return chunk;
}

Result<PointwiseChunk> DecodePointwise(std::string_view bytes) {
  BlobReader in(bytes);
  EMPORIUM_RETURN_IF_ERROR(CheckHead(kPointwise, &in));
  PointwiseChunk chunk;
  const auto rows = in.Get<uint32_t>();
  const uint64_t numbers = uint64_t{rows} * in.Get<uint32_t>();
  chunk.rows = rows;
  chunk.logits = in.GetAll<float>(numbers);
  chunk.labels = in.GetAll<float>(numbers);
  if (!AllFinite(chunk.logits) || !AllFinite(chunk.labels)) return Bad("a number is not finite");
  const auto groupings = in.Get<uint32_t>();
  for (uint32_t g = 0; g < groupings && in.ok(); ++g) {
    if (rows == 0) return Bad("groups of no rows");
    chunk.group.push_back(in.GetAll<uint64_t>(rows));
  }
  const auto buckets = in.Get<uint32_t>();
  if (buckets != 0 && buckets != rows) return Bad("popularity of other rows");
  chunk.popularity_bucket = in.GetAll<uint8_t>(buckets);
  for (const uint8_t bucket : chunk.popularity_bucket) {
    if (bucket > 2) return Bad("a popularity bucket beyond the last");
  }
  const auto ranks = in.Get<uint32_t>();
  if (ranks != 0 && ranks != rows) return Bad("ranks of other rows");
  chunk.rank = in.GetAll<uint32_t>(ranks);
  for (const uint32_t rank : chunk.rank) {
    if (rank > INT32_MAX) return Bad("a rank beyond all items");
  }
  const auto columns = in.Get<uint32_t>();
  for (uint32_t c = 0; c < columns && in.ok(); ++c) {
    PointwiseChunk::Column column;
    const auto values = in.Get<uint32_t>();
    for (uint32_t v = 0; v < values && in.ok(); ++v) column.values.push_back(GetText(&in));
    column.value = in.GetAll<uint32_t>(rows);
    for (const uint32_t value : column.value) {
      if (value >= column.values.size()) return Bad("a slice value beyond its list");
    }
    chunk.columns.push_back(std::move(column));
  }
  if (!in.done()) return Bad("cut short or with bytes left over");
  return chunk;
}

}  // namespace emporium::worker
