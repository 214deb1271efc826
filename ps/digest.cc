#include "ps/digest.h"

#include <openssl/evp.h>

#include <utility>

#include "proto/check.h"

namespace emporium::ps {
namespace {

// Rows are small and a call of the hash is not: they are collected up to this size.
constexpr size_t kBlockBytes = 64 << 10;

template <class T>
void Append(std::vector<std::byte>& out, std::span<const T> values) {
  const std::span<const std::byte> bytes = std::as_bytes(values);
  out.insert(out.end(), bytes.begin(), bytes.end());
}
template <class T>
void Append(std::vector<std::byte>& out, const T& value) {
  Append(out, std::span<const T>(&value, 1));
}

}  // namespace

struct Sha256Stream::Impl {
  Impl() : context(EVP_MD_CTX_new()) { Start(); }
  ~Impl() { EVP_MD_CTX_free(context); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  void Start() {
    EMPORIUM_CHECK(context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1,
                   "OpenSSL has SHA-256");
  }
  EVP_MD_CTX* context;
};

Sha256Stream::Sha256Stream() : impl_(std::make_unique<Impl>()) {}
Sha256Stream::~Sha256Stream() = default;

void Sha256Stream::Add(std::span<const std::byte> bytes) {
  EMPORIUM_CHECK(EVP_DigestUpdate(impl_->context, bytes.data(), bytes.size()) == 1,
                 "hashing memory cannot fail");
}

std::string Sha256Stream::Finish() {
  std::string digest(32, '\0');
  EMPORIUM_CHECK(EVP_DigestFinal_ex(impl_->context, reinterpret_cast<unsigned char*>(digest.data()),
                                    nullptr) == 1,
                 "hashing memory cannot fail");
  impl_->Start();
  return digest;
}

void RowsDigest::Add(const RowView& row, bool popularity) {
  Append(buffer_, row.key);
  Append(buffer_, row.raw.empty() ? std::as_bytes(row.weights) : row.raw);
  Append(buffer_, row.state);
  if (popularity) Append(buffer_, row.popularity);
  Append(buffer_, row.last_step);
  Append(buffer_, row.updates);
  Append(buffer_, row.extra);
  if (buffer_.size() < kBlockBytes) return;
  stream_.Add(buffer_);
  buffer_.clear();
}

void RowsDigest::Add(std::span<const uint64_t> gone) { Append(buffer_, gone); }

void RowsDigest::Add(std::span<const uint8_t> sketch, uint32_t held) {
  Append(buffer_, sketch);
  Append(buffer_, held);
}

std::string RowsDigest::Finish() {
  stream_.Add(buffer_);
  buffer_.clear();
  return stream_.Finish();
}

std::string PartitionDigest(std::span<const TablePart> tables) {
  Sha256Stream stream;
  std::vector<std::byte> bytes;
  for (const TablePart& table : tables) {
    Append(bytes, std::span<const char>(table.rows));
    Append(bytes, table.total.value);
    Append(bytes, table.total.step);
    Append(bytes, table.total.time);
    Append(bytes, std::span<const double>(table.total.slots));
  }
  stream.Add(bytes);
  return stream.Finish();
}

}  // namespace emporium::ps
