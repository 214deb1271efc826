#include "cluster/node_address.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "runtime/control_client.h"
#include "runtime/file.h"

namespace emporium::cluster {

Result<std::unique_ptr<control::SchedulerIf>> ConnectTo(const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  if (port.empty() || port.size() > 5 ||
      port.find_first_not_of("0123456789") != std::string::npos) {
    return InvalidArgument("\"" + address + "\" is no address; write host:port");
  }
  return runtime::ConnectScheduler(address.substr(0, colon), std::stoi(port));
}

Status WriteSchedulerAddress(const std::string& path, const std::string& control,
                             const std::string& http) {
  const nlohmann::json json = {{"control", control}, {"http", http}, {"pid", getpid()}};
  return runtime::WriteFileDurably(path, json.dump() + "\n");
}

Result<std::string> ReadSchedulerAddress(const std::string& path) {
  Result<std::string> text = runtime::ReadFile(path);
  if (!text.ok()) return NotFound(path + ": no scheduler of this job is known; is it running?");
  const nlohmann::json json = nlohmann::json::parse(*text, nullptr, false);
  if (json.is_discarded() || !json.contains("control") || !json["control"].is_string()) {
    return DataLoss(path + ": is not a scheduler's address; start the job again");
  }
  return json["control"].get<std::string>();
}

}  // namespace emporium::cluster
