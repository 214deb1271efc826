// Which path does what, and what the paths have in common.
#include "proto/element.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "proto/element_kernels.h"

namespace emporium {
namespace {

using element::Codec;
using element::Words;

const Codec& CodecOf(SimdLevel level) {
  switch (level) {
    case SimdLevel::kPlain:
      return element::kPlain;
    case SimdLevel::kAvx2:
      return element::kAvx2;
    case SimdLevel::kAvx512:
      break;
  }
  return element::kAvx512;
}

Words RandomWords(RoundingSeed seed) {
  return {false, static_cast<uint32_t>(seed.bits), static_cast<uint32_t>(seed.bits >> 32)};
}

float ScaleOf(int32_t greatest) {
  const auto bits = static_cast<uint32_t>(greatest);
  if (bits >= element::kInfinity) return std::bit_cast<float>(0x7fc00000u);
  const float scale = std::bit_cast<float>(bits) / 127.0f;
  return std::clamp(scale, element::kLeastScale, element::kGreatestScale);
}

void EncodeByteRow(const Codec& codec, const float* from, uint32_t dim, const Words& words,
                   std::byte* to) {
  const float scale = ScaleOf(codec.greatest_magnitude(from, dim));
  element::StoreAt(to, 0, scale);
  std::byte* const values = to + sizeof(float);
  for (uint32_t i = dim; i % 4 != 0; ++i) values[i] = std::byte{0};
  if (scale != scale) {  // NaN: bytes of no meaning, but always the same
    std::memset(values, 0, dim);
  } else {
    codec.encode_bytes(from, dim, scale, words, values);
  }
}

void EncodeRow(const Codec& codec, spec::ElementType type, const float* from, uint32_t dim,
               const Words& words, std::byte* to) {
  switch (type) {
    case spec::FP32:
      std::memcpy(to, from, size_t{dim} * sizeof(float));
      return;
    case spec::FP16:
      return codec.encode_half(from, dim, words, to);
    case spec::BF16:
      return codec.encode_brain(from, dim, words, to);
    case spec::INT8:
      return EncodeByteRow(codec, from, dim, words, to);
  }
}

void DecodeWith(const Codec& codec, spec::ElementType type, const std::byte* from, size_t rows,
                uint32_t dim, float* to) {
  switch (type) {
    case spec::FP32:
      std::memcpy(to, from, rows * dim * sizeof(float));
      return;
    case spec::FP16:
      return codec.decode_half(from, rows * dim, to);
    case spec::BF16:
      return codec.decode_brain(from, rows * dim, to);
    case spec::INT8: {
      const size_t stride = WeightBytes(spec::INT8, dim);
      for (size_t r = 0; r < rows; ++r, from += stride, to += dim) {
        const auto scale = element::LoadAt<float>(from, 0);
        codec.decode_bytes(from + sizeof(float), dim, scale, to);
      }
      return;
    }
  }
}

}  // namespace

void Encode(spec::ElementType type, const float* from, uint32_t dim, RoundingSeed seed,
            std::byte* to) {
  EncodeWith(BestSimd(), type, from, dim, seed, to);
}

void EncodeNearest(spec::ElementType type, const float* from, uint32_t dim, std::byte* to) {
  EncodeNearestWith(BestSimd(), type, from, dim, to);
}

void Decode(spec::ElementType type, const std::byte* from, uint32_t dim, float* to) {
  DecodeWith(CodecOf(BestSimd()), type, from, 1, dim, to);
}

void DecodeRows(spec::ElementType type, const std::byte* from, size_t rows, uint32_t dim,
                float* to) {
  DecodeWith(CodecOf(BestSimd()), type, from, rows, dim, to);
}

void EncodeWith(SimdLevel level, spec::ElementType type, const float* from, uint32_t dim,
                RoundingSeed seed, std::byte* to) {
  EncodeRow(CodecOf(level), type, from, dim, RandomWords(seed), to);
}

void EncodeNearestWith(SimdLevel level, spec::ElementType type, const float* from, uint32_t dim,
                       std::byte* to) {
  EncodeRow(CodecOf(level), type, from, dim, {true, 0, 0}, to);
}

void DecodeWith(SimdLevel level, spec::ElementType type, const std::byte* from, size_t rows,
                uint32_t dim, float* to) {
  DecodeWith(CodecOf(level), type, from, rows, dim, to);
}

}  // namespace emporium
