#include "worker/csv.h"

#include <cstring>
#include <utility>

namespace emporium::worker {
namespace {

constexpr size_t kChunkBytes = 256 << 10;

}  // namespace

CsvReader::CsvReader(std::unique_ptr<ByteSource> source, char separator)
    : source_(std::move(source)), separator_(separator), buffer_(2 * kChunkBytes) {}

Result<bool> CsvReader::Fill() {
  if (ended_) {
    return false;
  }
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (buffer_.size() - end_ < kChunkBytes) {
    buffer_.resize(buffer_.size() * 2);
  }
  EMPORIUM_ASSIGN_OR_RETURN(const size_t n, source_->Read({buffer_.data() + end_, kChunkBytes}));
  end_ += n;
  ended_ = n == 0;
  return n > 0;
}

// Offsets are relative to begin_, which Fill moves.
Result<bool> CsvReader::FindLineEnd(size_t from, size_t* end) {
  for (;;) {
    const char* start = buffer_.data() + begin_;
    const size_t have = end_ - begin_;
    const void* hit = from < have ? std::memchr(start + from, '\n', have - from) : nullptr;
    if (hit != nullptr) {
      *end = static_cast<size_t>(static_cast<const char*>(hit) - start);
      return true;
    }
    if (have > kMaxRecordBytes) {
      *end = have;
      return false;
    }
    from = have;
    EMPORIUM_ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) {
      *end = end_ - begin_;
      return true;
    }
  }
}

void CsvReader::SplitPlain(std::string_view line, CsvRecord* record) const {
  const char* at = line.data();
  const char* const stop = at + line.size();
  for (;;) {
    const void* hit = std::memchr(at, separator_, static_cast<size_t>(stop - at));
    const char* end = hit != nullptr ? static_cast<const char*>(hit) : stop;
    record->fields.emplace_back(at, static_cast<size_t>(end - at));
    if (hit == nullptr) {
      return;
    }
    at = end + 1;
  }
}

void CsvReader::Consume(size_t end, int64_t lines) {
  const size_t taken = std::min(end, end_ - begin_);
  begin_ += taken;
  bytes_ += static_cast<int64_t>(taken);
  line_ += lines;
}

CsvReader::Scan CsvReader::TakeQuotedField(size_t* position, int64_t* lines, const char** error) {
  const char* text = buffer_.data() + begin_;
  const size_t have = end_ - begin_;
  const size_t rewritten = unquoted_.size();
  bool escapes = false;
  size_t at = *position + 1;
  const size_t start = at;
  size_t run = at;
  for (;; ++at) {
    if (at >= have) {
      *error = "a quote is not closed";
      return ended_ ? Scan::kMalformed : Scan::kMore;
    }
    *lines += text[at] == '\n' ? 1 : 0;
    if (text[at] != '"') {
      continue;
    }
    if (at + 1 >= have && !ended_) {
      return Scan::kMore;
    }
    if (at + 1 >= have || text[at + 1] != '"') {
      break;
    }
    escapes = true;
    unquoted_.append(text + run, at + 1 - run);
    run = ++at + 1;
  }
  if (escapes) {
    unquoted_.append(text + run, at - run);
    spans_.push_back({rewritten, unquoted_.size(), true});
  } else {
    spans_.push_back({start, at, false});
  }
  *position = at + 1;
  return Scan::kDone;
}

CsvReader::Scan CsvReader::TakeBareField(size_t* position, const char** error) {
  const char* text = buffer_.data() + begin_;
  const size_t have = end_ - begin_;
  const size_t start = *position;
  size_t at = start;
  while (at < have && text[at] != separator_ && text[at] != '\n') {
    if (text[at] == '"') {
      *error = "a quote stands inside an unquoted field";
      return Scan::kMalformed;
    }
    ++at;
  }
  size_t stop = at;
  if (at < have && text[at] == '\n' && stop > start && text[stop - 1] == '\r') {
    --stop;
  }
  spans_.push_back({start, stop, false});
  *position = at;
  return Scan::kDone;
}

CsvReader::Scan CsvReader::SplitQuoted(CsvRecord* record, size_t* end, int64_t* lines,
                                       const char** error) {
  const char* text = buffer_.data() + begin_;
  const size_t have = end_ - begin_;
  spans_.clear();
  unquoted_.clear();
  *lines = 1;
  size_t at = 0;
  for (;;) {
    const bool quoted = at < have && text[at] == '"';
    const Scan field = quoted ? TakeQuotedField(&at, lines, error) : TakeBareField(&at, error);
    if (field != Scan::kDone) {
      return field;
    }
    if (at + 1 < have && text[at] == '\r' && text[at + 1] == '\n') {
      ++at;
    }
    if (at >= have) {
      if (!ended_) {
        return Scan::kMore;
      }
      break;
    }
    if (text[at] == '\n') {
      break;
    }
    if (text[at] != separator_) {
      *error = "text follows a closing quote";
      return text[at] == '\r' && at + 1 >= have && !ended_ ? Scan::kMore : Scan::kMalformed;
    }
    ++at;
  }
  for (const Span& span : spans_) {
    const char* base = span.rewritten ? unquoted_.data() : text;
    record->fields.emplace_back(base + span.begin, span.end - span.begin);
  }
  *end = at + 1;
  return Scan::kDone;
}

Result<bool> CsvReader::NextQuoted(CsvRecord* record, size_t first_line_end) {
  const char* error = nullptr;
  for (;;) {
    size_t end = 0;
    int64_t lines = 0;
    record->fields.clear();
    Scan scan = SplitQuoted(record, &end, &lines, &error);
    if (scan == Scan::kMore && end_ - begin_ > kMaxRecordBytes) {
      error = "the record is longer than 1 MiB (is a quote not closed?)";
      scan = Scan::kMalformed;
    }
    if (scan == Scan::kDone) {
      Consume(end, lines);
      return true;
    }
    if (scan == Scan::kMalformed) {
      record->error = error;
      record->fields.clear();
      Consume(first_line_end + 1, 1);
      return true;
    }
    EMPORIUM_RETURN_IF_ERROR(Fill().status());
  }
}

Result<bool> CsvReader::Next(CsvRecord* record) {
  record->fields.clear();
  record->error = nullptr;
  if (!started_) {
    started_ = true;
    while (end_ - begin_ < 3) {
      EMPORIUM_ASSIGN_OR_RETURN(const bool more, Fill());
      if (!more) {
        break;
      }
    }
    if (end_ - begin_ >= 3 && std::memcmp(buffer_.data() + begin_, "\xEF\xBB\xBF", 3) == 0) {
      Consume(3, 0);
    }
  }
  for (;;) {
    size_t end = 0;
    EMPORIUM_ASSIGN_OR_RETURN(const bool bounded, FindLineEnd(0, &end));
    record->line = line_;
    if (!bounded) {
      // Skip to the end of a line that no record can be.
      record->error = "the line is longer than 1 MiB";
      while (!bounded) {
        Consume(end, 0);
        EMPORIUM_ASSIGN_OR_RETURN(const bool found, FindLineEnd(0, &end));
        if (found) {
          break;
        }
      }
      Consume(end + 1, 1);
      return true;
    }
    if (end == 0 && begin_ == end_) {
      return false;
    }
    std::string_view line(buffer_.data() + begin_, end);
    if (separator_ != '\t' && std::memchr(line.data(), '"', line.size()) != nullptr) {
      return NextQuoted(record, end);
    }
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    const bool blank = line.empty();
    if (!blank) {
      SplitPlain(line, record);
    }
    Consume(end + 1, 1);
    if (!blank) {
      return true;
    }
  }
}

}  // namespace emporium::worker
