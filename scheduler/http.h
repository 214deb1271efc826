// The status over HTTP, for `emporium status`, scripts and Prometheus: GET /status (JSON), /metrics
// (Prometheus text 0.0.4), /healthz. Loopback only, as long as links are not authenticated.
//
// Start, Stop and the destructor belong to one thread; the two functions are called from several.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "proto/status.h"

namespace emporium::scheduler {

class HttpServer {
 public:
  using Text = std::function<std::string()>;

  // Port 0: chosen by the system. FailedPrecondition for an address that is not loopback,
  // Unavailable when the port is in use.
  static Result<std::unique_ptr<HttpServer>> Start(const std::string& host, int port,
                                                   Text status_json, Text metrics_text);
  virtual ~HttpServer() = default;
  virtual int port() const = 0;
  // Waits for the requests that are being answered. May be called again; the destructor does it.
  virtual void Stop() = 0;
};

}  // namespace emporium::scheduler
