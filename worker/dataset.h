// The converted data of a job: columns in time order, mapped from disk, with dictionaries and the
// positions of each user's and each item's events. Made by PrepareDataset (worker/prepare.h) from
// text or read as it is from Emporium column files.
//
// Immutable; safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/column_file.h"

namespace emporium::worker {

// A column of the events in time order (stable by file order), or of the items by item id.
struct ColumnView {
  spec::ColumnType type = spec::STRING;
  // STRING: index into the dictionary, -1 for the missing item of a search event. Also there for
  // an INT column that holds users or items.
  std::span<const int32_t> codes;
  std::span<const int64_t> ints;         // INT
  std::span<const float> floats;         // FLOAT
  std::span<const int32_t> words;        // TEXT: word codes, ragged by text_offset
  std::span<const int64_t> text_offset;  // TEXT: [rows + 1]
  DictionaryView dictionary;             // of codes; TEXT: of words

  // Dictionary texts of word lists or codes, by code.
  std::string_view text(int32_t code) const { return dictionary.text(code); }
};

class Dataset {
 public:
  static Result<std::unique_ptr<Dataset>> Open(const std::string& dir);
  virtual ~Dataset() = default;

  // SHA-256 (hex) of everything below but OriginOf.
  virtual const std::string& digest() const = 0;
  virtual int64_t events() const = 0;
  // Column of the events by its name in the job; NotFound says which there are.
  virtual Result<ColumnView> event_column(const std::string& name) const = 0;
  virtual Result<ColumnView> item_column(const std::string& name) const = 0;
  // Dictionary of a STRING or TEXT (words) column: text of each code. A column of events goes
  // before one of items that has the same name; ColumnView::text has no such doubt.
  virtual std::string_view text(const std::string& column, int32_t code) const = 0;

  // Retrieval data: users and items are numbered from 0 in order of first appearance in time;
  // items that only `data.items` names come after those with events.
  virtual int32_t users() const = 0;
  virtual int32_t items() const = 0;
  virtual std::string_view user_id(int32_t user) const = 0;
  virtual std::string_view item_id(int32_t item) const = 0;
  virtual std::string_view item_title(int32_t item) const = 0;  // empty where there is none
  virtual int32_t FindUser(std::string_view id) const = 0;      // -1: unknown
  virtual int32_t FindItem(std::string_view id) const = 0;
  // Per event, in time order: user, item (-1 for a search event), time in seconds.
  virtual std::span<const int32_t> event_user() const = 0;
  virtual std::span<const int32_t> event_item() const = 0;
  virtual std::span<const double> event_time() const = 0;
  // Positions of a user's (an item's) events, ascending, so in time order.
  virtual std::span<const int32_t> events_of_user(int32_t user) const = 0;
  virtual std::span<const int32_t> events_of_item(int32_t item) const = 0;
  // Pointwise data with FileSplit: [begin, end) of events by split.
  virtual std::pair<int64_t, int64_t> train_range() const = 0;
  virtual std::pair<int64_t, int64_t> validation_range() const = 0;
  virtual std::pair<int64_t, int64_t> test_range() const = 0;

  // The files and lines that events came from, for people (worker/origin.h). Reads the disk.
  virtual std::string OriginOf(std::span<const int64_t> events) const = 0;
};

}  // namespace emporium::worker
