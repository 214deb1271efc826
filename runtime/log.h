// The log of this process: one line a message, with time, level and component, to stderr and, when
// one was set, to a file. Any thread.
//
//   Log(LogLevel::kInfo, "ps", "shard {} serves {}", shard.value(), endpoint);
//
// No formatting library appears here, because LibTorch brings another version of it along.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

#include "proto/status.h"

namespace emporium::runtime {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Messages below this level are dropped; at start kInfo.
void SetLogLevel(LogLevel level);
// From now on messages go to this file too (appended). Unavailable when it cannot be opened.
Status SetLogFile(const std::string& path);
// Whether messages go to stderr; at start they do.
void SetLogToStderr(bool enabled);

void LogMessage(LogLevel level, std::string_view component, std::string_view message);

namespace internal {

template <class T>
std::string ToText(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_arithmetic_v<T>) {
    return std::to_string(value);
  } else {
    return std::string(std::string_view(value));
  }
}
// Replaces each "{}" by the next part; parts that are left over are added at the end.
std::string Format(std::string_view format, std::initializer_list<std::string> parts);

}  // namespace internal

template <class... Args>
void Log(LogLevel level, std::string_view component, std::string_view format, const Args&... args) {
  LogMessage(level, component, internal::Format(format, {internal::ToText(args)...}));
}

}  // namespace emporium::runtime
