#include "ps/digest.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include <cstring>

#include "proto/check.h"

namespace emporium::ps {
namespace {

constexpr size_t kBufferBytes = 32 << 10;

template <class T>
void Append(std::string& out, std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}
template <class T>
void Append(std::string& out, const T& value) {
  Append(out, std::span<const T>(&value, 1));
}

}  // namespace

struct RowsDigest::State {
  State() : hash(XXH3_createState()) { Start(); }
  ~State() { XXH3_freeState(hash); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  void Start() {
    EMPORIUM_CHECK(hash != nullptr && XXH3_128bits_reset(hash) == XXH_OK, "a hash can be begun");
  }
  XXH3_state_t* hash;
};

RowsDigest::RowsDigest() : state_(std::make_unique<State>()), buffer_(kBufferBytes) {}
RowsDigest::~RowsDigest() = default;

void RowsDigest::Put(std::span<const std::byte> bytes) {
  if (bytes.size() > buffer_.size() - filled_) Flush();
  if (bytes.size() > buffer_.size()) buffer_.resize(bytes.size());
  if (bytes.empty()) return;
  std::memcpy(buffer_.data() + filled_, bytes.data(), bytes.size());
  filled_ += bytes.size();
}

void RowsDigest::Flush() {
  EMPORIUM_CHECK(XXH3_128bits_update(state_->hash, buffer_.data(), filled_) == XXH_OK,
                 "hashing memory cannot fail");
  filled_ = 0;
}

void RowsDigest::Add(const RowView& row, bool popularity) {
  PutValue(row.key);
  Put(row.raw.empty() ? std::as_bytes(row.weights) : row.raw);
  Put(std::as_bytes(row.state));
  if (popularity) PutValue(row.popularity);
  PutValue(row.last_step);
  PutValue(row.updates);
  Put(row.extra);
}

void RowsDigest::Add(std::span<const uint64_t> gone) { Put(std::as_bytes(gone)); }

void RowsDigest::Add(std::span<const uint8_t> sketch, uint32_t held) {
  Put(std::as_bytes(sketch));
  PutValue(held);
}

std::string RowsDigest::Finish() {
  Flush();
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(state_->hash));
  state_->Start();
  return std::string(reinterpret_cast<const char*>(digest.digest), sizeof(digest.digest));
}

std::string PartitionDigest(std::span<const TablePart> tables) {
  std::string bytes;
  for (const TablePart& table : tables) {
    bytes += table.rows;
    Append(bytes, table.total.value);
    Append(bytes, table.total.step);
    Append(bytes, table.total.time);
    Append(bytes, std::span<const double>(table.total.slots));
  }
  std::string digest(32, '\0');
  EMPORIUM_CHECK(
      EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()),
                 nullptr, EVP_sha256(), nullptr) == 1,
      "hashing memory cannot fail");
  return digest;
}

}  // namespace emporium::ps
