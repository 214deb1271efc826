// Status and Result: how a call says what a peer, a disk or a user did wrong. The message says
// what, where and what to do, and is shown to the user as it is. Values; safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "proto/check.h"

namespace emporium {

// The numbers travel in error frames (proto/frame.h): append only.
enum class StatusCode : uint32_t {
  kOk = 0,
  kInvalidArgument = 1,     // the caller's bytes or settings are wrong; retrying cannot help
  kNotFound = 2,            // a file, checkpoint, table or stage that was named is not there
  kDataLoss = 3,            // bytes were read but are not what was written
  kUnavailable = 4,         // the other side cannot be reached or went away
  kDeadlineExceeded = 5,    // no answer in time
  kBusy = 6,                // a bound was reached; the same request will succeed later
  kStale = 7,               // the request names an old route, generation, stage or step
  kResourceExhausted = 8,   // disk full, memory budget reached, too many open files
  kFailedPrecondition = 9,  // right request, wrong state
  kUnimplemented = 10,      // valid, but not supported yet
  kCancelled = 11,          // the user or a shutdown stopped it
  kInternal = 12,           // a fault on the other side
};

const char* StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {
    EMPORIUM_CHECK(code != StatusCode::kOk, "an error needs an error code");
  }

  static Status Ok() { return Status(); }
  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }
  // "data loss: checkpoint/7/shard-0.h5: ..."; "ok" for success.
  std::string ToString() const;
  // The same error with `context` and ": " before the message.
  Status WithContext(const std::string& context) const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status InvalidArgument(std::string m) {
  return {StatusCode::kInvalidArgument, std::move(m)};
}
inline Status NotFound(std::string m) { return {StatusCode::kNotFound, std::move(m)}; }
inline Status DataLoss(std::string m) { return {StatusCode::kDataLoss, std::move(m)}; }
inline Status Unavailable(std::string m) { return {StatusCode::kUnavailable, std::move(m)}; }
inline Status DeadlineExceeded(std::string m) {
  return {StatusCode::kDeadlineExceeded, std::move(m)};
}
inline Status Busy(std::string m) { return {StatusCode::kBusy, std::move(m)}; }
inline Status Stale(std::string m) { return {StatusCode::kStale, std::move(m)}; }
inline Status ResourceExhausted(std::string m) {
  return {StatusCode::kResourceExhausted, std::move(m)};
}
inline Status FailedPrecondition(std::string m) {
  return {StatusCode::kFailedPrecondition, std::move(m)};
}
inline Status Unimplemented(std::string m) { return {StatusCode::kUnimplemented, std::move(m)}; }
inline Status Cancelled(std::string m) { return {StatusCode::kCancelled, std::move(m)}; }
inline Status Internal(std::string m) { return {StatusCode::kInternal, std::move(m)}; }

// A value or the reason why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit, so that a value is returned
  Result(Status status) : status_(std::move(status)) {  // NOLINT: implicit, so that an error is
    EMPORIUM_CHECK(!status_.ok(), "a Result without a value needs an error");
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & {
    EMPORIUM_CHECK(ok(), status_.message().c_str());
    return *value_;
  }
  const T& value() const& {
    EMPORIUM_CHECK(ok(), status_.message().c_str());
    return *value_;
  }
  T&& value() && {
    EMPORIUM_CHECK(ok(), status_.message().c_str());
    return *std::move(value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace emporium

// Returns from the enclosing function when `expr` is an error.
#define EMPORIUM_RETURN_IF_ERROR(expr)                                    \
  do {                                                                    \
    if (::emporium::Status error_of_expr = (expr); !error_of_expr.ok()) { \
      return error_of_expr;                                               \
    }                                                                     \
  } while (false)

#define EMPORIUM_CONCAT_INNER(a, b) a##b
#define EMPORIUM_CONCAT(a, b) EMPORIUM_CONCAT_INNER(a, b)
// EMPORIUM_ASSIGN_OR_RETURN(auto file, OpenFile(path));
#define EMPORIUM_ASSIGN_OR_RETURN(lhs, expr) \
  EMPORIUM_ASSIGN_OR_RETURN_INNER(EMPORIUM_CONCAT(result_, __LINE__), lhs, expr)
#define EMPORIUM_ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                                    \
  if (!result.ok()) {                                      \
    return result.status();                                \
  }                                                        \
  lhs = std::move(result).value()
