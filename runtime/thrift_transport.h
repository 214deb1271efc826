// Thrift's framed transport with a bound on each frame; for both ends of the control plane.
// One object belongs to one thread at a time.
#pragma once

#include <thrift/Thrift.h>
#include <thrift/transport/TBufferTransports.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "proto/limits.h"
#include "runtime/log.h"

namespace emporium::runtime {

inline constexpr int kMaxThriftMessage = static_cast<int>(limits::kMaxControlMessageBytes);

inline std::shared_ptr<apache::thrift::TConfiguration> ThriftLimits() {
  return std::make_shared<apache::thrift::TConfiguration>(kMaxThriftMessage, kMaxThriftMessage);
}

// Thrift writes what goes wrong on a connection to stderr; every caller gets it as an error anyway,
// so it goes to the log for those who look closely. The library's own global; may be called again.
inline void SendThriftOutputToLog() {
  apache::thrift::GlobalOutput.setOutputFunction(
      [](const char* message) { LogMessage(LogLevel::kDebug, "thrift", message); });
}

// Thrift 0.17 counts what a connection has read in its whole life against the bound of one message.
// Here the count starts anew after every message.
class BoundedFramedTransport final : public apache::thrift::transport::TFramedTransport {
 public:
  explicit BoundedFramedTransport(std::shared_ptr<apache::thrift::transport::TTransport> socket)
      : TFramedTransport(std::move(socket), ThriftLimits()) {}

  uint32_t readEnd() override {
    const uint32_t read = TFramedTransport::readEnd();
    resetConsumedMessageSize();
    return read;
  }
};

}  // namespace emporium::runtime
