#include "runtime/xxh3.h"

#include <xxhash.h>

#include "proto/check.h"

namespace emporium::runtime {
namespace {

void Begin(XXH3_state_t* state) {
  EMPORIUM_CHECK(state != nullptr && XXH3_128bits_reset(state) == XXH_OK, "a hash can be begun");
}

}  // namespace

void Xxh3::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

Xxh3::Xxh3() : state_(XXH3_createState()) { Begin(state_.get()); }

void Xxh3::Add(const void* bytes, size_t size) {
  EMPORIUM_CHECK(XXH3_128bits_update(state_.get(), bytes, size) == XXH_OK,
                 "hashing memory cannot fail");
}

std::string Xxh3::Finish() {
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(state_.get()));
  Begin(state_.get());
  return std::string(reinterpret_cast<const char*>(digest.digest), sizeof(digest.digest));
}

}  // namespace emporium::runtime
