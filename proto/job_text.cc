// Contract in the header. The protobuf parser stops at the first fault, so two things are done to
// find all of them: unknown fields are let through as warnings, which become complaints; and after
// any other fault the value (or the line) that holds it is blanked out and the text parsed again.
#include "proto/job_text.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace emporium {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

constexpr int kMaxFaults = 100;
// Of messages in messages; protobuf alone would go on to the end of the stack.
constexpr int kMaxDepth = 100;

struct ParserFault {
  int line;  // from 0, as protobuf counts
  int column;
  std::string text;
};

class Collector : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    errors.push_back({line, column, message});
  }
  void AddWarning(int line, int column, const std::string& message) override {
    warnings.push_back({line, column, message});
  }
  std::vector<ParserFault> errors;
  std::vector<ParserFault> warnings;
};

std::string Join(const std::string& path, const std::string& leaf) {
  return path.empty() ? leaf : path + "." + leaf;
}

void CollectLines(const Message& message, const TextFormat::ParseInfoTree& tree,
                  const std::string& path, FieldLines* lines) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> present;
  reflection->ListFields(message, &present);
  for (const FieldDescriptor* field : present) {
    const int count = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    int line = 0;
    for (int i = 0; i < count; ++i) {
      const int index = field->is_repeated() ? i : -1;
      const std::string here =
          Join(path, field->name() + (index < 0 ? "" : "[" + std::to_string(i) + "]"));
      // Of a list in brackets protobuf knows where it begins, and no more (-1).
      line = std::max(line, tree.GetLocation(field, index).line);
      lines->emplace(here, line + 1);
      const auto* nested = tree.GetTreeForNested(field, index);
      if (nested != nullptr) {
        CollectLines(index < 0 ? reflection->GetMessage(message, field)
                               : reflection->GetRepeatedMessage(message, field, i),
                     *nested, here, lines);
      }
    }
  }
}

// 'Message type "emporium.spec.Table" has no field named "dmi".' -> type and name.
std::optional<std::pair<std::string, std::string>> UnknownField(const std::string& text) {
  const std::string before = "essage type \"";
  const std::string between = "\" has no field named \"";
  const size_t type = text.find(before);
  const size_t name = text.find(between);
  if (type == std::string::npos || name == std::string::npos) {
    return std::nullopt;
  }
  const size_t type_at = type + before.size();
  const size_t name_at = name + between.size();
  return std::make_pair(text.substr(type_at, name - type_at),
                        text.substr(name_at, text.find('"', name_at) - name_at));
}

std::vector<std::string> FieldNames(const std::string& type) {
  std::vector<std::string> names;
  const Descriptor* message = DescriptorPool::generated_pool()->FindMessageTypeByName(type);
  for (int i = 0; message != nullptr && i < message->field_count(); ++i) {
    names.push_back(message->field(i)->name());
  }
  return names;
}

// The characters [begin, end) of the text that are blanked out to get past a fault, and the field
// that they set. An empty range: there is no safe way past.
struct Patch {
  size_t begin = 0;
  size_t end = 0;
  std::string field;
};

// Where line `line` (from 0) begins.
size_t LineBegin(const std::string& text, int line) {
  size_t begin = 0;
  for (int i = 0; i < line; ++i) {
    begin = text.find('\n', begin);
    if (begin == std::string::npos) {
      return begin;
    }
    ++begin;
  }
  return begin;
}

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

// `field: value` around the value at `at`, when the line [begin, end) holds it like that.
Patch PatchValue(const std::string& text, size_t begin, size_t end, size_t at) {
  const std::string line = text.substr(begin, at - begin);
  const size_t colon = line.find_last_not_of(" \t");
  if (at >= end || colon == std::string::npos || line[colon] != ':') {
    return {};
  }
  size_t name = colon;
  while (name > 0 && IsNameCharacter(line[name - 1])) {
    --name;
  }
  size_t stop = text.find_first_of(" \t\r\n,;}", at);
  if (text[at] == '"' || text[at] == '\'') {
    stop = text.find(text[at], at + 1);
    stop = stop == std::string::npos ? stop : stop + 1;
  }
  if (text[at] == '[' || text[at] == '{' || name == colon || stop == std::string::npos ||
      stop > end) {
    return {};
  }
  return {begin + name, stop, line.substr(name, colon - name)};
}

// The whole line, when its braces are balanced.
Patch PatchLine(const std::string& text, size_t begin, size_t end) {
  int depth = 0;
  for (size_t i = begin; i < end; ++i) {
    depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
    if (depth < 0) {
      return {};
    }
  }
  const size_t word = text.find_first_not_of(" \t\r", begin);
  if (depth != 0 || word >= end) {
    return {};
  }
  size_t stop = word;
  while (stop < end && IsNameCharacter(text[stop])) {
    ++stop;
  }
  return {begin, end, text.substr(word, stop - word)};
}

// An unknown enum value is reported at the token after it: moves the fault to the value.
ParserFault AtEnumValue(ParserFault fault, const std::string& text) {
  const std::string before = "Unknown enumeration value of \"";
  if (fault.text.rfind(before, 0) != 0) {
    return fault;
  }
  const size_t quote = fault.text.find('"', before.size());
  const std::string value = fault.text.substr(before.size(), quote - before.size());
  const size_t line_begin = LineBegin(text, fault.line);
  const size_t at = text.rfind(value, line_begin + static_cast<size_t>(fault.column));
  if (line_begin == std::string::npos || at == std::string::npos) {
    return fault;
  }
  const auto begin = text.begin();
  fault.line = static_cast<int>(std::count(begin, begin + static_cast<ptrdiff_t>(at), '\n'));
  fault.column = static_cast<int>(at - LineBegin(text, fault.line));
  return fault;
}

Patch PatchFor(const ParserFault& fault, const std::string& text) {
  const size_t begin = LineBegin(text, fault.line);
  if (begin == std::string::npos) {
    return {};
  }
  const size_t end = std::min(text.find('\n', begin), text.size());
  const Patch value = PatchValue(text, begin, end, begin + static_cast<size_t>(fault.column));
  return value.begin < value.end ? value : PatchLine(text, begin, end);
}

std::string WithoutPeriod(std::string text) {
  if (!text.empty() && text.back() == '.') {
    text.pop_back();
  }
  return text;
}

void AddUnknownField(const ParserFault& warning, const std::string& name, Parsed* out) {
  const auto unknown = UnknownField(warning.text);
  if (!unknown.has_value()) {
    out->complaints.push_back({name, warning.line + 1, "syntax", warning.text, "correct it"});
    return;
  }
  const auto& [type, field] = *unknown;
  const std::vector<std::string> names = FieldNames(type);
  const std::string nearest = NearestName(field, names);
  out->spoiled.insert(nearest);
  const std::string message = type.substr(type.rfind('.') + 1);
  out->complaints.push_back(
      {name, warning.line + 1, field, "no such field in " + message,
       nearest.empty() ? "fields are " + ListNames(names) : "did you mean " + nearest + "?"});
}

}  // namespace

std::string ListNames(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) {
    list += (list.empty() ? "" : ", ") + name;
  }
  return list;
}

Parsed ParseText(std::string text, const std::string& name) {
  Parsed out;
  for (int fault = 0; fault < kMaxFaults; ++fault) {
    Collector collector;
    TextFormat::ParseInfoTree tree;
    TextFormat::Parser parser;
    parser.RecordErrorsTo(&collector);
    parser.WriteLocationsTo(&tree);
    parser.AllowUnknownField(true);
    parser.SetRecursionLimit(kMaxDepth);
    out.job.Clear();
    const bool ok = parser.ParseFromString(text, &out.job);
    if (ok && collector.errors.empty()) {
      for (const ParserFault& warning : collector.warnings) {
        AddUnknownField(warning, name, &out);
      }
      CollectLines(out.job, tree, "", &out.lines);
      return out;
    }
    EMPORIUM_CHECK(!collector.errors.empty(), "a failed parse names its error");
    const ParserFault error = AtEnumValue(collector.errors.front(), text);
    const Patch patch = PatchFor(error, text);
    out.complaints.push_back({name, error.line + 1, patch.field.empty() ? "syntax" : patch.field,
                              WithoutPeriod(error.text), "see docs/job.md for what belongs there"});
    if (patch.begin == patch.end) {
      for (const ParserFault& warning : collector.warnings) {
        AddUnknownField(warning, name, &out);
      }
      break;
    }
    out.spoiled.insert(patch.field);
    std::fill_n(text.begin() + static_cast<ptrdiff_t>(patch.begin), patch.end - patch.begin, ' ');
  }
  out.complete = false;
  return out;
}

}  // namespace emporium
