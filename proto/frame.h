// The data plane: every byte that a worker and a shard say to each other. This is the only codec.
// Encoders write into one contiguous buffer; decoders are views that check every length, count and
// offset before they hand anything out, and own nothing: the buffer must outlive the view.
// Values and views; safe from any thread.
//
// Grammar, little endian, every section starts at a multiple of 8 bytes:
//
//   frame    := header(96) section*
//   header   := magic u32 | version u8 | type u8 | flags u16 | request_id u64 | route_version u64
//             | generation u64 | step u64 | stage u32 | micro_batch u32 | micro_batches u32
//             | sections u32 | learning_rate_factor f32 | error u32 | body_bytes u64
//             | event_time u32 | gradient_scale f32 | reserved u32 x 2 | header_hash u64  (XXH3 of
//             the 88 bytes before it)
//   section  := table u16 | flags u16 | dim u32 | rows u32 | slots u16 | element u8 | reserved u8
//             | total f64 | keys | value f32 x (rows * dim) | count f32 x rows
//             | zeros to 8 | more
//             (PullReply: total | counts | slot f32 x (rows * slots) | weights | zeros to 8 | more)
//   more     := nothing, or with kMore:
//               totals u16 | reserved u16 | observed u32 | total f64 x totals
//             | value f32 x observed | mask u8 x (rows * (slots + 7) / 8)  (Push)
//             | zeros to 8
//   weights  := `rows` rows of `dim` weights in the form that `element` says (proto/element.h)
//   keys     := key u64 x rows                  (XXH3 of them in their place with kKnownKeys)
//
//   header flags: 1 any_version (Pull), 2 awaits_scale (Push). section flags: 1 kWantPopularity, 2
//   kHasCounts, 4 kWantSlots, 8 kKnownKeys, 16 kMore; the counts are there only with the second. A
//   table occurs at most once in a frame.
//
//   Pull       keys; no values; flag kWantPopularity asks for counts, kWantSlots for slots. dim 0.
//              With micro_batches the shard keeps the keys for the push of that micro-batch.
//   PullReply  no keys (they are the request's, in its order); weights instead of values, in the
//              form in which the table holds them; counts = popularity if it was asked for; total =
//              the table's decayed total; slots = the rows' slots if they were asked for, and
//              totals = of each slot that is a counter its total over the table.
//   Push       keys, values = gradients; kKnownKeys: the keys are those of the pull of the same
//              (step, micro_batch), and are not sent again; a shard that does not know them answers
//              with the error kNotFound. kHasCounts: counts = positive sightings of each key;
//              total = sum of the counts of the whole micro-batch over all shards, and so are
//              totals, of each counter. Bit s of a key's mask (little endian): something was
//              observed for slot s; the values follow one another, key by key, slots ascending. A
//              time is u32 seconds since 1970 in the place of a float, here as in a reply.
//              event_time = newest event of the micro-batch, seconds since 1970 (0: the data has
//              no time).
//   Assign     keys, values: sets rows that do not exist yet; answered by Ack.
//   Squares    no sections: asks for the sum of the squares of all gradients of `step`.
//   SquaresReply  body = digit u64 x ExactSum::kDigits (proto/exact_sum.h) instead of sections: of
//              this shard's rows. Zeros when step is two or more behind the shard's version: then
//              all shards have applied it.
//   Apply      no sections: with awaits_scale the gradients of `step` are multiplied by
//              gradient_scale and applied; answered by Ack, and without effect when they have been.
//   Ack        no sections. Of a push: micro_batches 0 says that it was known before.
//   Error      error = StatusCode, body = UTF-8 message instead of sections.
//
// Answers carry the request's id and the shard's own step and route version, a PullReply its stage
// too, so that an empty Pull serves as a probe: with any_version micro_batch of the answer is the
// lowest of the shard's step whose push it has not got.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/bytes.h"
#include "proto/element.h"
#include "proto/exact_sum.h"
#include "proto/ids.h"
#include "proto/status.h"

namespace emporium {

enum class FrameType : uint8_t {
  kPull = 1,
  kPullReply = 2,
  kPush = 3,
  kAssign = 4,
  kAck = 5,
  kError = 6,
  kSquares = 7,
  kSquaresReply = 8,
  kApply = 9,
};

// What is answered; everything else is an answer.
constexpr bool IsRequest(FrameType type) {
  return type == FrameType::kPull || type == FrameType::kPush || type == FrameType::kAssign ||
         type == FrameType::kSquares || type == FrameType::kApply;
}

inline constexpr uint32_t kFrameMagic = 0x31504d45;  // "EMP1"
inline constexpr uint8_t kFrameVersion = 3;
inline constexpr size_t kFrameHeaderBytes = 96;
inline constexpr size_t kSectionHeaderBytes = 24;

struct FrameHeader {
  FrameType type = FrameType::kPull;
  // Pull only: answer with the shard's present version whatever `step` says, at once (probe,
  // evaluation). Bit 0 of the flags on the wire.
  bool any_version = false;
  // Push: the step is not applied before an Apply says how much of its gradients; the same in all
  // of a step.
  bool awaits_scale = false;
  uint64_t request_id = 0;
  RouteVersion route_version;
  Generation generation;
  StageId stage;
  Step step;                       // Pull: version wanted. Push: step of the gradients.
  MicroBatch micro_batch;          // Push, and a Pull that a push will follow
  uint32_t micro_batches = 0;      // of the step; 0 in a Pull: no push will follow
  float learning_rate_factor = 1;  // Push: a function of (stage, step), the same in all of a step
  uint32_t event_time = 0;         // Push
  float gradient_scale = 1;        // Apply: 0 to 1
  StatusCode error = StatusCode::kOk;
};

// One table's part of a frame. Spans point into the frame and may be read as they are (8-byte
// aligned when the frame's first byte is).
struct SectionView {
  TableId table;
  bool want_popularity = false;
  bool want_slots = false;
  uint32_t dim = 0;        // floats per value row; 0: no values
  uint32_t slots_dim = 0;  // slots per row; 0: none
  std::span<const uint64_t> keys;
  bool known_keys = false;        // Push: instead of keys there is ...
  uint64_t keys_hash = 0;         // ... HashOfKeys
  std::span<const float> values;  // [n, dim]; of a PullReply: the weights if they are FP32
  spec::ElementType element = spec::FP32;
  std::span<const std::byte> weights;  // PullReply: n rows of WeightBytes(element, dim)
  std::span<const float> counts;       // [n] or empty
  std::span<const float> slots;        // PullReply: [n, slots_dim]
  uint32_t rows = 0;                   // n: keys, or value rows of a PullReply
  double total = 0;
  std::span<const double> slot_totals;  // by counter, or empty
  std::span<const float> observed;      // Push; read it with an ObservationReader
  std::span<const uint8_t> masks;       // [n, MaskBytes(slots_dim)]
};

// Bytes of a key's mask.
constexpr uint32_t MaskBytes(uint32_t slots) { return (slots + 7) / 8; }

// What was observed of one key: the slots whose bits are set, and their values in that order.
struct Observation {
  uint32_t mask = 0;
  std::span<const float> values;
};

// The observations of a Push's section, key by key; there are none where slots_dim is 0.
class ObservationReader {
 public:
  explicit ObservationReader(const SectionView& section)
      : masks_(section.masks), values_(section.observed), bytes_(MaskBytes(section.slots_dim)) {}
  // To be called once for each key.
  Observation Next();

 private:
  std::span<const uint8_t> masks_;
  std::span<const float> values_;
  const uint32_t bytes_;
};

class FrameView {
 public:
  // Checks everything: magic, version, hash, type, sizes, alignment, table and key limits, finite
  // totals, no bytes left over. InvalidArgument names the first thing that is wrong.
  // The first byte must be 8-byte aligned (that is ours to see to, not the peer's).
  static Result<FrameView> Parse(std::span<const std::byte> bytes);
  // The header alone: whom to answer when the rest of a frame is refused.
  static Result<FrameHeader> ParseHeader(std::span<const std::byte> bytes);

  const FrameHeader& header() const { return header_; }
  const std::vector<SectionView>& sections() const { return sections_; }
  std::string_view error_message() const { return error_message_; }  // kError
  const ExactSum& squares() const { return squares_; }               // kSquaresReply

 private:
  // Of a frame that has no sections.
  Status ParseBody(std::span<const std::byte> body);

  FrameHeader header_;
  std::vector<SectionView> sections_;
  std::string_view error_message_;
  ExactSum squares_;
};

// A frame being written: sizes are declared first, then spans are filled in place, so that a shard
// gathers rows straight into the message that is sent.
class FrameBuilder {
 public:
  struct Section {
    TableId table;
    uint32_t keys = 0;  // keys written (0 in a PullReply)
    uint32_t rows = 0;  // value and count rows: of a PullReply; elsewhere 0 or as many as keys
    uint32_t dim = 0;
    bool want_popularity = false;
    bool has_counts = false;
    double total = 0;
    bool want_slots = false;
    uint32_t slots = 0;       // per row
    bool known_keys = false;  // of a Push: `keys` are `keys_hash` on the wire
    uint64_t keys_hash = 0;
    spec::ElementType element = spec::FP32;  // of a PullReply
    uint32_t slot_totals = 0;                // of a Push and a PullReply: counters of the table
    uint32_t observed = 0;                   // of a Push: values in all
  };
  // Writable views of one declared section; every element is the caller's to write. `weights` are
  // of a PullReply; with FP32 they are the same bytes as `values`.
  struct Parts {
    std::span<uint64_t> keys;
    std::span<float> values;
    std::span<std::byte> weights;
    std::span<float> counts;
    std::span<float> slots;  // of a PullReply
    std::span<double> slot_totals;
    std::span<float> observed;  // of a Push, as are ...
    std::span<uint8_t> masks;   // ... these
  };

  FrameBuilder(const FrameHeader& header, std::span<const Section> sections);

  Parts part(size_t section);
  // The finished message; the builder is empty afterwards. The bytes are 8-byte aligned.
  Bytes Finish() &&;

 private:
  Bytes bytes_;
  std::vector<Parts> parts_;
};

// What stands for keys that the other side knows.
uint64_t HashOfKeys(std::span<const uint64_t> keys);

// The bytes of an Error frame that answers `request`.
Bytes EncodeError(const FrameHeader& request, RouteVersion route_version, Step step,
                  const Status& error);
// The bytes of a SquaresReply frame that answers `request`.
Bytes EncodeSquares(const FrameHeader& request, RouteVersion route_version, Step step,
                    const ExactSum& squares);
// The bytes of an Ack frame that answers `request`.
Bytes EncodeAck(const FrameHeader& request, RouteVersion route_version, Step step);

}  // namespace emporium
