#include "worker/origin.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "worker/table_source.h"

namespace emporium::worker {
namespace {

// The end of a long name, from the beginning of a character on (UTF-8).
std::string Shortened(std::string_view name) {
  if (name.size() <= kMaxOriginPathBytes) return std::string(name);
  name.remove_prefix(name.size() - kMaxOriginPathBytes);
  while (!name.empty() && (static_cast<unsigned char>(name.front()) & 0xC0) == 0x80) {
    name.remove_prefix(1);
  }
  return "..." + std::string(name);
}

std::vector<std::string> NamesIn(std::span<const char> bytes) {
  std::vector<std::string> names;
  std::string_view rest(bytes.data(), bytes.size());
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    names.push_back(Shortened(rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return names;
}

size_t FileOf(int64_t origin) { return static_cast<size_t>(origin >> kOriginLineBits); }

// Runs of lines that follow each other, file by file. `origins` are ascending and different.
std::string Tell(std::span<const std::string> names, std::span<const int64_t> origins) {
  std::string text;
  size_t ranges = 0;
  size_t files = 0;
  size_t told = 0;
  while (told < origins.size() && ranges < kMaxOriginRanges) {
    const size_t file = FileOf(origins[told]);
    if (told == 0 || FileOf(origins[told - 1]) != file) {
      if (files++ == kMaxOriginFilesTold) break;
      const bool several = told + 1 < origins.size() && FileOf(origins[told + 1]) == file;
      text += (text.empty() ? "" : "; ") + names[file] + (several ? "s " : " ");
    } else {
      text += ", ";
    }
    size_t last = told;
    // No line is 0, so what follows the last line of a file is none of the next.
    while (last + 1 < origins.size() && origins[last + 1] == origins[last] + 1) ++last;
    text += std::to_string(origins[told] & kMaxOriginLine);
    if (last > told) text += "-" + std::to_string(origins[last] & kMaxOriginLine);
    told = last + 1;
    ++ranges;
  }
  if (told == origins.size()) return text;
  text += " and " + std::to_string(origins.size() - told) + " more";
  size_t others = 1;
  for (size_t i = told + 1; i < origins.size(); ++i) {
    others += FileOf(origins[i]) != FileOf(origins[i - 1]) ? 1 : 0;
  }
  const bool in_the_last_told = others == 1 && FileOf(origins[told]) == FileOf(origins[told - 1]);
  if (!in_the_last_told) {
    text += " in " + std::to_string(others) + (others == 1 ? " file" : " files");
  }
  return text;
}

Result<std::string> TextOf(const std::string& dir, std::span<const int64_t> events) {
  const std::string path = dir + "/" + kOriginFile;
  EMPORIUM_ASSIGN_OR_RETURN(const auto file, ColumnFile::Open(path));
  EMPORIUM_ASSIGN_OR_RETURN(const auto all, file->Array<int64_t>("origin"));
  EMPORIUM_ASSIGN_OR_RETURN(const auto bytes, file->Array<char>("files"));
  const std::vector<std::string> names = NamesIn(bytes);
  std::vector<int64_t> origins;
  origins.reserve(events.size());
  for (const int64_t event : events) {
    const bool there = event >= 0 && static_cast<size_t>(event) < all.size();
    const int64_t origin = there ? all[static_cast<size_t>(event)] : -1;
    if (origin < 0 || FileOf(origin) >= names.size()) {
      return DataLoss(path + ": does not fit the events; prepare the data again");
    }
    origins.push_back(origin);
  }
  std::sort(origins.begin(), origins.end());
  origins.erase(std::unique(origins.begin(), origins.end()), origins.end());
  return Tell(names, origins);
}

}  // namespace

Status OriginWriter::AddFile(const std::string& path) {
  if (files_ == kMaxOriginFiles) {
    return InvalidArgument("data.events.file: names more than " + std::to_string(kMaxOriginFiles) +
                           " files; put some of them together");
  }
  ++files_;
  std::string name = path;
  std::replace(name.begin(), name.end(), '\n', ' ');
  names_ += name + (IsTableFile(path) ? " row" : " line") + "\n";
  return Status::Ok();
}

void OriginWriter::Encode(int64_t line, std::byte* at) const {
  const int64_t origin = (files_ - 1) << kOriginLineBits | std::min(line, kMaxOriginLine);
  std::memcpy(at, &origin, sizeof origin);
}

Status OriginWriter::Begin(const std::string& dir, uint64_t events) {
  std::vector<ArraySpec> arrays = {{"origin", Element::kI64, events},
                                   {"files", Element::kU8, names_.size()}};
  EMPORIUM_ASSIGN_OR_RETURN(
      writer_, ColumnFileWriter::Create(dir + "/" + kOriginFile, events, std::move(arrays)));
  std::copy(names_.begin(), names_.end(), writer_->Array<char>("files").begin());
  origins_ = writer_->Array<int64_t>("origin");
  return Status::Ok();
}

void OriginWriter::Write(uint64_t event, const std::byte* at) {
  std::memcpy(&origins_[event], at, sizeof(int64_t));
}

std::string OriginText(const std::string& dir, std::span<const int64_t> events) {
  if (events.empty()) return "";
  Result<std::string> text = TextOf(dir, events);
  return text.ok() ? std::move(text).value() : "of lines not known: " + text.status().message();
}

}  // namespace emporium::worker
