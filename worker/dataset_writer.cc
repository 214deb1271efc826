#include "worker/dataset_writer.h"

#include <algorithm>
#include <climits>
#include <memory>
#include <numeric>
#include <utility>

#include "worker/column_file.h"
#include "worker/dataset_columns.h"
#include "worker/external_sort.h"
#include "worker/origin.h"
#include "worker/table_source.h"
#include "worker/text_reader.h"

namespace emporium::worker {
namespace {

constexpr int64_t kRowsPerProgress = 1 << 16;
constexpr size_t kNone = SIZE_MAX;

double SecondsPer(spec::TimeUnit unit) {
  switch (unit) {
    case spec::SECONDS:
      return 1;
    case spec::MILLISECONDS:
      return 1e-3;
    case spec::DAYS:
      return 86400;
  }
  EMPORIUM_CHECK(false, "a time unit is one of the schema's");
  return 1;
}

// One conversion, from the first file that is opened to the last that is written.
class Conversion {
 public:
  Conversion(const spec::Data& data, const DataFiles& files, const std::string& dir,
             const PrepareOptions& options)
      : data_(data), files_(files), dir_(dir), options_(options) {
    policy_.max_bad_rows = data.max_bad_rows();
    policy_.max_bad_fraction = data.max_bad_fraction();
    policy_.warn = options.warn;
  }

  Result<PrepareReport> Run() {
    PlanEvents();
    EMPORIUM_RETURN_IF_ERROR(ReadEvents());
    EMPORIUM_RETURN_IF_ERROR(ReadItems());
    EMPORIUM_RETURN_IF_ERROR(WriteEvents());
    EMPORIUM_RETURN_IF_ERROR(WriteItems());
    EMPORIUM_RETURN_IF_ERROR(WriteIndex());
    return report_;
  }

 private:
  void PlanEvents() {
    size_t at = 0;
    for (const spec::Column& column : data_.events().column()) {
      const std::string& name = column.name();
      const bool user = data_.has_user_column() && name == data_.user_column();
      const bool item = data_.has_item_column() && name == data_.item_column();
      const bool time = data_.has_time_column() && name == data_.time_column();
      user_ = user ? events_.size() : user_;
      item_ = item ? events_.size() : item_;
      time_ = time ? events_.size() : time_;
      const EmptyText empty = user   ? EmptyText::kBad
                              : item ? EmptyText::kMissing
                                     : EmptyText::kValue;
      events_.emplace_back(column, time && column.type() == spec::FLOAT, empty, user || item,
                           nullptr);
      place_.push_back(at);
      at += events_.back().record_bytes();
    }
    origin_place_ = at;
    record_.resize(at + OriginWriter::kRecordBytes);
    sorter_ = std::make_unique<ExternalSorter>(record_.size(), options_.sort_run_bytes, dir_);
  }

  double TimeOf(const Cell& cell) const {
    const double value = data_.events().column(static_cast<int>(time_)).type() == spec::INT
                             ? static_cast<double>(cell.integer)
                             : cell.number;
    return value * SecondsPer(data_.time_unit());
  }

  Status ReadEvents() {
    for (int range = 0; range < 3; ++range) {
      for (const std::string& path : files_.events[range]) {
        EMPORIUM_RETURN_IF_ERROR(ReadEventsOf(path, range));
      }
      ends_[range] = sorter_->records();
    }
    report_.rows = sorter_->records();
    if (report_.rows == 0) {
      return InvalidArgument(files_.events[0].front() + ": data.events has no usable row");
    }
    if (report_.rows >= INT32_MAX) {
      return InvalidArgument("data.events: " + std::to_string(report_.rows) +
                             " rows; a data set holds fewer than 2^31");
    }
    return Status::Ok();
  }

  Status ReadEventsOf(const std::string& path, int range) {
    std::vector<ReadColumn> columns;
    for (const DatasetColumn& column : events_) {
      columns.push_back(column.read());
    }
    EMPORIUM_ASSIGN_OR_RETURN(auto rows, OpenRows(path, data_.events(), columns, policy_));
    EMPORIUM_RETURN_IF_ERROR(origin_.AddFile(path));
    std::vector<Cell> cells(columns.size());
    for (;;) {
      EMPORIUM_ASSIGN_OR_RETURN(const bool any, rows->Next(cells));
      if (!any) {
        break;
      }
      SortKey key{range, time_ == kNone ? 0 : TimeOf(cells[time_])};
      for (size_t c = 0; c < cells.size(); ++c) {
        events_[c].Encode(cells[c], record_.data() + place_[c]);
        events_[c].Count(cells[c]);
      }
      origin_.Encode(rows->line(), record_.data() + origin_place_);
      EMPORIUM_RETURN_IF_ERROR(sorter_->Add(key, record_));
      if (options_.progress && sorter_->records() % kRowsPerProgress == 0) {
        options_.progress({sorter_->records(), report_.bytes + rows->counts().bytes});
      }
    }
    Account(rows->counts());
    return Status::Ok();
  }

  void Account(const ReadCounts& counts) {
    report_.bad_rows += counts.bad_rows;
    report_.bytes += counts.bytes;
    if (options_.progress) {
      options_.progress({sorter_->records(), report_.bytes});
    }
  }

  // The catalogue's attributes, by the number that the pool gave the item.
  Status ReadItems() {
    if (!data_.has_items()) {
      return Status::Ok();
    }
    std::vector<ReadColumn> columns;
    for (const spec::Column& column : data_.items().column()) {
      const bool key = column.name() == data_.items_key_column();
      key_ = key ? items_.size() : key_;
      items_.emplace_back(column, false, key ? EmptyText::kBad : EmptyText::kValue, key,
                          key ? events_[item_].shared_pool() : nullptr);
      columns.push_back(items_.back().read());
    }
    StringPool& ids = events_[item_].pool();
    std::vector<Cell> cells(columns.size());
    std::vector<bool> seen(static_cast<size_t>(ids.size()), false);
    item_cells_.resize(items_.size());
    for (const std::string& path : files_.items) {
      EMPORIUM_ASSIGN_OR_RETURN(auto rows, OpenRows(path, data_.items(), columns, policy_));
      for (;;) {
        EMPORIUM_ASSIGN_OR_RETURN(const bool any, rows->Next(cells));
        if (!any) {
          break;
        }
        const auto item = static_cast<size_t>(cells[key_].code);
        if (item < seen.size() && seen[item]) {
          rows->Refuse("item \"" + std::string(ids.text(cells[key_].code)) + "\" occurs twice");
          continue;
        }
        seen.resize(static_cast<size_t>(ids.size()), false);
        seen[item] = true;
        for (size_t c = 0; c < cells.size(); ++c) {
          item_cells_[c].resize(seen.size());
          item_cells_[c][item] = cells[c];
        }
      }
      Account(rows->counts());
    }
    FillMissingItems(seen);
    return Status::Ok();
  }

  // Items without a line of their own: empty texts and zeros.
  void FillMissingItems(const std::vector<bool>& seen) {
    for (size_t c = 0; c < items_.size(); ++c) {
      item_cells_[c].resize(seen.size());
      for (size_t item = 0; item < seen.size(); ++item) {
        Cell& cell = item_cells_[c][item];
        if (!seen[item] && c == key_) {
          cell.code = static_cast<int32_t>(item);
          ParseInteger(events_[item_].pool().text(cell.code), &cell.integer);
        } else if (!seen[item] && items_[c].has_pool()) {
          cell.code = items_[c].pool().Intern("");
        }
        items_[c].Count(cell);
      }
    }
  }

  Status WriteEvents() {
    std::vector<ArraySpec> arrays;
    const auto rows = static_cast<uint64_t>(report_.rows);
    for (DatasetColumn& column : events_) {
      column.Announce(rows, &arrays);
    }
    EMPORIUM_ASSIGN_OR_RETURN(
        auto writer, ColumnFileWriter::Create(dir_ + "/" + kEventsFile, rows, std::move(arrays)));
    for (DatasetColumn& column : events_) {
      column.Begin(writer.get());
    }
    EMPORIUM_RETURN_IF_ERROR(origin_.Begin(dir_, rows));
    uint64_t row = 0;
    time_of_row_.reserve(time_ == kNone ? 0 : rows);
    user_of_row_.reserve(user_ == kNone ? 0 : rows);
    item_of_row_.reserve(item_ == kNone ? 0 : rows);
    EMPORIUM_RETURN_IF_ERROR(
        sorter_->Drain([&](const SortKey& key, std::span<const std::byte> record) {
          for (size_t c = 0; c < events_.size(); ++c) {
            const Cell cell = events_[c].Decode(record.data() + place_[c]);
            events_[c].Write(row, cell);
            if (c == user_) {
              user_of_row_.push_back(events_[c].Use(cell.code));
            } else if (c == item_) {
              item_of_row_.push_back(events_[c].Use(cell.code));
            }
          }
          if (time_ != kNone) {
            time_of_row_.push_back(key.time);
          }
          origin_.Write(row, record.data() + origin_place_);
          ++row;
          return Status::Ok();
        }));
    sorter_.reset();
    for (DatasetColumn& column : events_) {
      column.End();
    }
    EMPORIUM_RETURN_IF_ERROR(origin_.Finish());
    return writer->Finish();
  }

  Status WriteItems() {
    if (!data_.has_items()) {
      return Status::Ok();
    }
    const std::vector<int32_t>& order = events_[item_].order();
    const uint64_t rows = order.size();
    std::vector<ArraySpec> arrays;
    for (DatasetColumn& column : items_) {
      column.Announce(rows, &arrays);
    }
    EMPORIUM_ASSIGN_OR_RETURN(
        auto writer, ColumnFileWriter::Create(dir_ + "/" + kItemsFile, rows, std::move(arrays)));
    for (size_t c = 0; c < items_.size(); ++c) {
      items_[c].Begin(writer.get());
      for (uint64_t row = 0; row < rows; ++row) {
        items_[c].Write(row, item_cells_[c][static_cast<size_t>(order[row])]);
      }
      items_[c].End();
    }
    return writer->Finish();
  }

  // What is looked up: events by user and by item, ids in alphabetical order, ranges and names.
  Status WriteIndex() {
    const std::string roles = data_.user_column() + "\n" + data_.item_column() + "\n" +
                              data_.time_column() + "\n" + data_.items_key_column() + "\n" +
                              data_.items_title_column() + "\n";
    std::vector<ArraySpec> arrays = {{"roles", Element::kU8, roles.size()},
                                     {"ranges", Element::kI64, 3},
                                     {"time", Element::kF64, time_of_row_.size()}};
    AnnounceLookup("user", user_, user_of_row_, &arrays);
    AnnounceLookup("item", item_, item_of_row_, &arrays);
    EMPORIUM_ASSIGN_OR_RETURN(
        auto writer,
        ColumnFileWriter::Create(dir_ + "/" + kIndexFile, static_cast<uint64_t>(report_.rows),
                                 std::move(arrays)));
    std::copy(roles.begin(), roles.end(), writer->Array<char>("roles").begin());
    std::copy(ends_, ends_ + 3, writer->Array<int64_t>("ranges").begin());
    std::copy(time_of_row_.begin(), time_of_row_.end(), writer->Array<double>("time").begin());
    FillLookup(writer.get(), "user", user_, user_of_row_);
    FillLookup(writer.get(), "item", item_, item_of_row_);
    return writer->Finish();
  }

  void AnnounceLookup(const std::string& name, size_t column, const std::vector<int32_t>& of_row,
                      std::vector<ArraySpec>* arrays) {
    if (column == kNone) {
      return;
    }
    const auto ids = static_cast<uint64_t>(events_[column].pool().size());
    const auto listed = static_cast<uint64_t>(
        std::count_if(of_row.begin(), of_row.end(), [](int32_t id) { return id >= 0; }));
    arrays->push_back({name + "_of_row", Element::kI32, of_row.size()});
    arrays->push_back({name + "_offset", Element::kI64, ids + 1});
    arrays->push_back({name + "_events", Element::kI32, listed});
    arrays->push_back({name + "_sorted", Element::kI32, ids});
  }

  void FillLookup(ColumnFileWriter* writer, const std::string& name, size_t column,
                  const std::vector<int32_t>& of_row) {
    if (column == kNone) {
      return;
    }
    std::copy(of_row.begin(), of_row.end(), writer->Array<int32_t>(name + "_of_row").begin());
    const std::span<int64_t> offset = writer->Array<int64_t>(name + "_offset");
    const std::span<int32_t> events = writer->Array<int32_t>(name + "_events");
    for (const int32_t id : of_row) {
      if (id >= 0) {
        ++offset[static_cast<size_t>(id) + 1];
      }
    }
    std::partial_sum(offset.begin(), offset.end(), offset.begin());
    std::vector<int64_t> next(offset.begin(), offset.end() - 1);
    for (size_t row = 0; row < of_row.size(); ++row) {
      if (of_row[row] >= 0) {
        const auto at = next[static_cast<size_t>(of_row[row])]++;
        events[static_cast<size_t>(at)] = static_cast<int32_t>(row);
      }
    }
    const std::span<int32_t> sorted = writer->Array<int32_t>(name + "_sorted");
    const std::vector<int32_t>& order = events_[column].order();
    const StringPool& pool = events_[column].pool();
    std::iota(sorted.begin(), sorted.end(), 0);
    std::sort(sorted.begin(), sorted.end(), [&](int32_t a, int32_t b) {
      return pool.text(order[static_cast<size_t>(a)]) < pool.text(order[static_cast<size_t>(b)]);
    });
  }

  const spec::Data& data_;
  const DataFiles& files_;
  const std::string dir_;
  const PrepareOptions& options_;
  ReadPolicy policy_;
  PrepareReport report_;

  std::vector<DatasetColumn> events_;
  std::vector<size_t> place_;  // of each column in a sort record
  size_t origin_place_ = 0;
  std::vector<std::byte> record_;
  size_t user_ = kNone;
  size_t item_ = kNone;
  size_t time_ = kNone;
  std::unique_ptr<ExternalSorter> sorter_;
  OriginWriter origin_;
  int64_t ends_[3] = {0, 0, 0};  // of the ranges train, validation, test

  std::vector<DatasetColumn> items_;
  size_t key_ = kNone;
  std::vector<std::vector<Cell>> item_cells_;  // by column, by the pool's number of the item

  std::vector<double> time_of_row_;
  std::vector<int32_t> user_of_row_;
  std::vector<int32_t> item_of_row_;
};

}  // namespace

Result<PrepareReport> WriteDataset(const spec::Data& data, const DataFiles& files,
                                   const std::string& dir, const PrepareOptions& options) {
  return Conversion(data, files, dir, options).Run();
}

}  // namespace emporium::worker
