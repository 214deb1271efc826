#include "worker/id_map.h"

namespace emporium::worker {

namespace {

void Escape(std::string_view text, std::string* out) {
  for (const char c : text) {
    switch (c) {
      case '\t':
        *out += "\\t";
        break;
      case '\n':
        *out += "\\n";
        break;
      case '\r':
        *out += "\\r";
        break;
      case '\\':
        *out += "\\\\";
        break;
      default:
        *out += c;
    }
  }
}

std::string Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const char c = text[++i];
    out += c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
  }
  return out;
}

}  // namespace

IdMapWriter::IdMapWriter(bool with_titles)
    : with_titles_(with_titles), text_(with_titles ? "row\tid\ttitle\n" : "row\tid\n") {}

void IdMapWriter::Add(std::string_view id, std::string_view title) {
  text_ += std::to_string(rows_++);
  text_ += '\t';
  Escape(id, &text_);
  if (with_titles_) {
    text_ += '\t';
    Escape(title, &text_);
  }
  text_ += '\n';
}

Result<IdMap> ParseIdMap(const std::string& path, std::string_view text) {
  IdMap map;
  const size_t header_end = text.find('\n');
  if (header_end == std::string_view::npos || text.substr(0, 6) != "row\tid") {
    return DataLoss(path + ": not an id map");
  }
  text.remove_prefix(header_end + 1);
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    const std::string row = std::to_string(map.id.size());
    const size_t id_at = line.find('\t');
    if (end == std::string_view::npos || line.substr(0, id_at) != row ||
        id_at == std::string_view::npos) {
      return DataLoss(path + ": line " + std::to_string(map.id.size() + 2) + " is not row " + row);
    }
    const size_t title_at = line.find('\t', id_at + 1);
    const bool has_title = title_at != std::string_view::npos;
    map.id.push_back(Unescape(line.substr(id_at + 1, title_at - id_at - 1)));
    map.title.push_back(has_title ? Unescape(line.substr(title_at + 1)) : std::string());
    map.row.emplace(map.id.back(), static_cast<int32_t>(map.id.size() - 1));
    text.remove_prefix(end + 1);
  }
  return map;
}

}  // namespace emporium::worker
