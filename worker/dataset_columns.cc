#include "worker/dataset_columns.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "worker/table_source.h"
#include "worker/text_words.h"

namespace emporium::worker {

DatasetColumn::DatasetColumn(const spec::Column& column, bool wide, EmptyText empty, bool want_text,
                             std::shared_ptr<StringPool> pool)
    : name_(column.name()),
      type_(column.type()),
      wide_(wide),
      empty_(empty),
      pool_(std::move(pool)) {
  const bool texts = type_ == spec::STRING || type_ == spec::TEXT || want_text;
  if (texts && pool_ == nullptr) {
    pool_ = std::make_shared<StringPool>();
  }
}

ReadColumn DatasetColumn::read() const { return {name_, type_, pool_.get(), empty_}; }

size_t DatasetColumn::record_bytes() const {
  const size_t number = type_ == spec::INT || wide_ ? 8 : type_ == spec::FLOAT ? 4 : 0;
  return number + (pool_ != nullptr ? 4 : 0);
}

void DatasetColumn::Encode(const Cell& cell, std::byte* at) const {
  if (type_ == spec::INT) {
    std::memcpy(at, &cell.integer, 8);
    at += 8;
  } else if (wide_) {
    std::memcpy(at, &cell.number, 8);
    at += 8;
  } else if (type_ == spec::FLOAT) {
    const auto number = static_cast<float>(cell.number);
    std::memcpy(at, &number, 4);
    at += 4;
  }
  if (pool_ != nullptr) {
    std::memcpy(at, &cell.code, 4);
  }
}

Cell DatasetColumn::Decode(const std::byte* at) const {
  Cell cell;
  if (type_ == spec::INT) {
    std::memcpy(&cell.integer, at, 8);
    at += 8;
  } else if (wide_) {
    std::memcpy(&cell.number, at, 8);
    at += 8;
  } else if (type_ == spec::FLOAT) {
    float number;
    std::memcpy(&number, at, 4);
    cell.number = static_cast<double>(number);
    at += 4;
  }
  if (pool_ != nullptr) {
    std::memcpy(&cell.code, at, 4);
  }
  return cell;
}

void DatasetColumn::Count(const Cell& cell) {
  if (type_ != spec::TEXT || cell.code < 0) {
    return;
  }
  const auto code = static_cast<size_t>(cell.code);
  if (code >= uses_.size()) {
    uses_.resize(std::max(code + 1, uses_.size() * 2), 0);
  }
  ++uses_[code];
}

std::string DatasetColumn::Array(const char* part) const { return ColumnArray(name_, part); }

void DatasetColumn::Announce(uint64_t rows, std::vector<ArraySpec>* arrays) {
  if (type_ == spec::INT) {
    arrays->push_back({Array("ints"), Element::kI64, rows});
  } else if (type_ == spec::FLOAT) {
    arrays->push_back(wide_ ? ArraySpec{Array("doubles"), Element::kF64, rows}
                            : ArraySpec{Array("floats"), Element::kF32, rows});
  }
  if (pool_ == nullptr) {
    return;
  }
  arrays->push_back({Array("codes"), Element::kI32, rows});
  const auto texts = static_cast<uint64_t>(pool_->size());
  arrays->push_back({Array("dict"), Element::kU8, static_cast<uint64_t>(pool_->bytes())});
  arrays->push_back({Array("dict_offset"), Element::kI64, texts + 1});
  if (type_ != spec::TEXT) {
    return;
  }
  uint64_t row_words = 0;
  uses_.resize(texts, 0);
  word_offset_.assign(1, 0);
  for (size_t code = 0; code < texts; ++code) {
    ForEachWord(pool_->text(static_cast<int32_t>(code)),
                [&](std::string_view word) { word_.push_back(words_.Intern(word)); });
    row_words += static_cast<uint64_t>(uses_[code]) * (word_.size() - word_offset_.back());
    word_offset_.push_back(word_.size());
  }
  arrays->push_back({Array("words"), Element::kI32, row_words});
  arrays->push_back({Array("word_offset"), Element::kI64, rows + 1});
  arrays->push_back({Array("word_dict"), Element::kU8, static_cast<uint64_t>(words_.bytes())});
  arrays->push_back(
      {Array("word_dict_offset"), Element::kI64, static_cast<uint64_t>(words_.size()) + 1});
}

void DatasetColumn::Begin(ColumnFileWriter* writer) {
  writer_ = writer;
  if (type_ == spec::INT) {
    ints_ = writer->Array<int64_t>(Array("ints"));
  } else if (type_ == spec::FLOAT && wide_) {
    doubles_ = writer->Array<double>(Array("doubles"));
  } else if (type_ == spec::FLOAT) {
    floats_ = writer->Array<float>(Array("floats"));
  }
  if (pool_ != nullptr) {
    codes_ = writer->Array<int32_t>(Array("codes"));
    renumbering_ = std::make_unique<Renumbering>(pool_->size());
  }
  if (type_ == spec::TEXT) {
    word_renumbering_ = std::make_unique<Renumbering>(words_.size());
    row_words_ = writer->Array<int32_t>(Array("words"));
    row_word_offset_ = writer->Array<int64_t>(Array("word_offset"));
  }
}

void DatasetColumn::Write(uint64_t row, const Cell& cell) {
  if (type_ == spec::INT) {
    ints_[row] = cell.integer;
  } else if (type_ == spec::FLOAT && wide_) {
    doubles_[row] = cell.number;
  } else if (type_ == spec::FLOAT) {
    floats_[row] = static_cast<float>(cell.number);
  }
  if (pool_ != nullptr) {
    codes_[row] = Use(cell.code);
  }
  if (type_ == spec::TEXT) {
    auto at = static_cast<size_t>(row_word_offset_[row]);
    if (cell.code >= 0) {
      const auto code = static_cast<size_t>(cell.code);
      for (size_t w = word_offset_[code]; w < word_offset_[code + 1]; ++w) {
        row_words_[at++] = word_renumbering_->Use(word_[w]);
      }
    }
    row_word_offset_[row + 1] = static_cast<int64_t>(at);
  }
}

void DatasetColumn::End() {
  if (pool_ != nullptr) {
    for (int32_t code = 0; code < pool_->size(); ++code) {
      Use(code);
    }
    FillDictionary(writer_, Array("dict"), *pool_, renumbering_->order());
  }
  if (type_ == spec::TEXT) {
    for (int32_t word = 0; word < words_.size(); ++word) {
      word_renumbering_->Use(word);
    }
    FillDictionary(writer_, Array("word_dict"), words_, word_renumbering_->order());
  }
}

void FillDictionary(ColumnFileWriter* writer, const std::string& prefix, const StringPool& pool,
                    const std::vector<int32_t>& order) {
  const std::span<char> bytes = writer->Array<char>(prefix);
  const std::span<int64_t> offset = writer->Array<int64_t>(prefix + "_offset");
  int64_t at = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const std::string_view text = pool.text(order[i]);
    std::copy(text.begin(), text.end(), bytes.begin() + at);
    at += static_cast<int64_t>(text.size());
    offset[i + 1] = at;
  }
}

}  // namespace emporium::worker
