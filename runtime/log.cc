#include "runtime/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace emporium::runtime {
namespace {

// The one logger of the process and where it writes to. spdlog shares its sinks by shared_ptr.
struct Logger {
  Logger()
      : stderr_sink(std::make_shared<spdlog::sinks::stderr_sink_mt>()),
        sinks(std::make_shared<spdlog::sinks::dist_sink_mt>()),
        logger("emporium", sinks) {
    sinks->add_sink(stderr_sink);
    logger.set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
    logger.flush_on(spdlog::level::warn);
  }
  std::shared_ptr<spdlog::sinks::stderr_sink_mt> stderr_sink;
  std::shared_ptr<spdlog::sinks::dist_sink_mt> sinks;
  spdlog::logger logger;
};

Logger& TheLogger() {
  static Logger logger;  // internally locked; a log line may come from any thread at any time
  return logger;
}

spdlog::level::level_enum LevelOf(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

void SetLogLevel(LogLevel level) { TheLogger().logger.set_level(LevelOf(level)); }

Status SetLogFile(const std::string& path) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    sink->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
    TheLogger().sinks->add_sink(std::move(sink));
  } catch (const spdlog::spdlog_ex& error) {
    return Unavailable(path + ": cannot open the log file: " + error.what());
  }
  TheLogger().logger.flush_on(spdlog::level::info);
  return Status::Ok();
}

void SetLogToStderr(bool enabled) {
  TheLogger().stderr_sink->set_level(enabled ? spdlog::level::trace : spdlog::level::off);
}

void LogMessage(LogLevel level, std::string_view component, std::string_view message) {
  TheLogger().logger.log(LevelOf(level), "{}: {}", component, message);
}

namespace internal {

std::string Format(std::string_view format, std::initializer_list<std::string> parts) {
  std::string out;
  auto part = parts.begin();
  while (part != parts.end()) {
    const size_t hole = format.find("{}");
    if (hole == std::string_view::npos) break;
    out.append(format.substr(0, hole)).append(*part++);
    format.remove_prefix(hole + 2);
  }
  out.append(format);
  for (; part != parts.end(); ++part) out.append(" ").append(*part);
  return out;
}

}  // namespace internal
}  // namespace emporium::runtime
