#include "ps/digest.h"

#include <openssl/evp.h>

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

RowsDigest::RowsDigest() : buffer_(kBufferBytes) {}

void RowsDigest::Put(std::span<const std::byte> bytes) {
  if (bytes.size() > buffer_.size() - filled_) Flush();
  if (bytes.size() > buffer_.size()) buffer_.resize(bytes.size());
  if (bytes.empty()) return;
  std::memcpy(buffer_.data() + filled_, bytes.data(), bytes.size());
  filled_ += bytes.size();
}

void RowsDigest::Flush() {
  hash_.Add(buffer_.data(), filled_);
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
  return hash_.Finish();
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
