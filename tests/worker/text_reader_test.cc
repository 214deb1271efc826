#include "worker/text_reader.h"

#include <gmock/gmock.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/worker/data_fixture.h"
#include "worker/csv.h"
#include "worker/decompress.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Gzip(const std::string& text) {
  z_stream z{};
  EXPECT_EQ(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string Zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

class TextReaderTest : public DataTest {
 protected:
  // All records of a text, fields joined by '|', "!" for a malformed one, with line numbers.
  std::vector<std::string> Records(const std::string& text, char separator) {
    auto bytes = OpenByteSource(Write("records", text));
    CsvReader csv(std::move(bytes).value(), separator);
    std::vector<std::string> all;
    CsvRecord record;
    for (;;) {
      auto any = csv.Next(&record);
      EXPECT_TRUE(any.ok());
      if (!*any) {
        return all;
      }
      std::string line = std::to_string(record.line) + ":";
      for (size_t i = 0; i < record.fields.size(); ++i) {
        line += (i ? "|" : "") + std::string(record.fields[i]);
      }
      all.push_back(record.error ? std::to_string(record.line) + "!" : line);
    }
  }
  // Reads id (STRING) and n (INT), and what happened.
  Status ReadAll(const std::string& path, const spec::TextSource& source, ReadCounts* counts) {
    const std::vector<ReadColumn> columns = {{"id", spec::STRING, &pool_, EmptyText::kValue},
                                             {"n", spec::INT, nullptr, EmptyText::kValue}};
    policy_.warn = [this](const std::string& w) { warnings_.push_back(w); };
    EMPORIUM_ASSIGN_OR_RETURN(auto rows, OpenRows(path, source, columns, policy_));
    std::vector<Cell> cells(2);
    for (;;) {
      EMPORIUM_ASSIGN_OR_RETURN(const bool any, rows->Next(cells));
      *counts = rows->counts();
      if (!any) {
        return Status::Ok();
      }
      read_.push_back(std::string(pool_.text(cells[0].code)) + "=" + std::to_string(cells[0].code) +
                      "/" + std::to_string(cells[1].integer));
    }
  }

  StringPool pool_;
  ReadPolicy policy_;
  std::vector<std::string> warnings_;
  std::vector<std::string> read_;
};

TEST_F(TextReaderTest, CsvFollowsRfc4180) {
  EXPECT_THAT(
      Records("a,b,c\r\n\"x,1\",\"he said \"\"hi\"\"\",\n\"two\nlines\",,z\n\nlast,1,2", ','),
      ElementsAre("1:a|b|c", "2:x,1|he said \"hi\"|", "3:two\nlines||z", "6:last|1|2"));
}

TEST_F(TextReaderTest, CsvStartsBehindAByteOrderMark) {
  EXPECT_THAT(Records("\xEF\xBB\xBFid,n\n1,2\n", ','), ElementsAre("1:id|n", "2:1|2"));
}

TEST_F(TextReaderTest, CsvReportsABrokenQuoteAndGoesOnAtTheNextLine) {
  EXPECT_THAT(Records("a,\"b\nc,d\ne,f\n", ','), ElementsAre("1!", "2:c|d", "3:e|f"));
  EXPECT_THAT(Records("a,\"b\"x\nc,d\n", ','), ElementsAre("1!", "2:c|d"));
  EXPECT_THAT(Records("a,b\"c\nc,d\n", ','), ElementsAre("1!", "2:c|d"));
  // A quote that is never closed must not swallow megabytes.
  std::string text = "a,\"b\n";
  for (int i = 0; i < 300'000; ++i) {
    text += "1,2222\n";
  }
  const auto records = Records(text, ',');
  EXPECT_EQ(records.size(), 300'001u);
  EXPECT_EQ(records[0], "1!");
  EXPECT_EQ(records[300'000], "300001:1|2222");
}

TEST_F(TextReaderTest, CsvRefusesALineWithoutEnd) {
  const std::string text = "a,b\n" + std::string(3 << 20, 'x') + "\nc,d\n";
  EXPECT_THAT(Records(text, ','), ElementsAre("1:a|b", "2!", "3:c|d"));
}

TEST_F(TextReaderTest, TabSeparatedTakesQuotesAsTheyAre) {
  EXPECT_THAT(Records("a\tb \"c\"\n\"d\t\n", '\t'), ElementsAre("1:a|b \"c\"", "2:\"d|"));
}

// Whatever the fields hold, quoting them and reading them again gives them back, across buffers.
TEST_F(TextReaderTest, QuotedFieldsComeBackWhole) {
  std::string text;
  std::vector<std::string> expected;
  uint64_t state = 7;
  const auto next = [&] { return state = state * 6364136223846793005ull + 1442695040888963407ull; };
  int64_t line = 1;
  for (int row = 0; row < 20'000; ++row) {
    std::string record = std::to_string(line) + ":";
    for (int field = 0; field < 4; ++field) {
      std::string value;
      for (uint64_t n = (next() >> 60) * (row % 500 == 0 ? 100 : 1); n > 0; --n) {
        value += "ab,\"\n\r x"[(next() >> 33) % 8];
      }
      text += field ? ",\"" : "\"";
      for (const char c : value) {
        text += c == '"' ? "\"\"" : std::string(1, c);
        line += c == '\n';
      }
      text += "\"";
      record += (field ? "|" : "") + value;
    }
    text += row % 3 == 0 ? "\r\n" : "\n";
    ++line;
    expected.push_back(record);
  }
  EXPECT_EQ(Records(text, ','), expected);
}

TEST_F(TextReaderTest, ReadsPlainGzipAndZstdAlike) {
  std::string text = "n,other,id\n";
  for (int i = 0; i < 50'000; ++i) {
    text += std::to_string(i) + ",x,k" + std::to_string(i % 7) + "\n";
  }
  Write("a.csv", text);
  // Two members, as concatenated gzip files have.
  Write("a.csv.gz", Gzip(text.substr(0, 100'000)) + Gzip(text.substr(100'000)));
  Write("a.csv.zst", Zstd(text));
  for (const char* name : {"a.csv", "a.csv.gz", "a.csv.zst"}) {
    read_.clear();
    ReadCounts counts;
    const Status status = ReadAll(Path(name), spec::TextSource(), &counts);
    ASSERT_TRUE(status.ok()) << status.ToString();
    EXPECT_EQ(counts.rows, 50'000);
    EXPECT_EQ(counts.bytes, static_cast<int64_t>(text.size()));
    EXPECT_EQ(read_[49'999], "k5=5/49999");
  }
}

TEST_F(TextReaderTest, TruncatedPackedFilesAreDataLoss) {
  std::string text = "n,id\n";
  for (int i = 0; i < 30'000; ++i) {
    text += std::to_string(i * 7919 % 10007) + ",k\n";
  }
  for (const char* name : {"cut.csv.gz", "cut.csv.zst"}) {
    std::string packed =
        std::string(name).find(".gz") != std::string::npos ? Gzip(text) : Zstd(text);
    for (const size_t keep : {packed.size() - 1, packed.size() / 2, size_t{5}, size_t{0}}) {
      Write(name, packed.substr(0, keep));
      ReadCounts counts;
      const Status status = ReadAll(Path(name), spec::TextSource(), &counts);
      EXPECT_EQ(status.code(), StatusCode::kDataLoss) << name << " " << keep;
      EXPECT_THAT(status.message(), HasSubstr(name));
    }
    packed[packed.size() / 2] ^= 0x55;
    Write(name, packed);
    ReadCounts counts;
    EXPECT_EQ(ReadAll(Path(name), spec::TextSource(), &counts).code(), StatusCode::kDataLoss);
  }
}

TEST_F(TextReaderTest, WrongHeaderNamesFileExpectedAndFound) {
  ReadCounts counts;
  const Status status = ReadAll(Write("w.csv", "ident,n\na,1\n"), spec::TextSource(), &counts);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("w.csv: no column \"id\""));
  EXPECT_THAT(status.message(), HasSubstr("expected columns id, n"));
  EXPECT_THAT(status.message(), HasSubstr("ident, n"));
}

TEST_F(TextReaderTest, EmptyAndMissingFilesAreNamed) {
  ReadCounts counts;
  EXPECT_THAT(ReadAll(Write("e.csv", ""), spec::TextSource(), &counts).message(),
              HasSubstr("e.csv: the file is empty"));
  EXPECT_EQ(ReadAll(Path("none.csv"), spec::TextSource(), &counts).code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadAll(dir_.string(), spec::TextSource(), &counts).code(),
            StatusCode::kInvalidArgument);
}

TEST_F(TextReaderTest, HeadersMayBeTypedOrMissing) {
  spec::TextSource typed;
  typed.set_header(spec::TYPED);
  ReadCounts counts;
  ASSERT_TRUE(ReadAll(Write("t.inter", "id:token\tn:float\nx\t4\n"), typed, &counts).ok());
  spec::TextSource none;
  none.set_header(spec::NONE);
  none.add_column()->set_name("n");
  none.add_column()->set_name("id");
  ASSERT_TRUE(ReadAll(Write("n.csv", "9,y\n"), none, &counts).ok());
  EXPECT_THAT(read_, ElementsAre("x=0/4", "y=1/9"));
}

TEST_F(TextReaderTest, BadRowsAreSkippedToldAndKeepTheirTextsOut) {
  ReadCounts counts;
  std::string text = "id,n\n";
  for (const char* row : {"a,1", "bad1,x", "bad2,1,2", "bad3", "bad4,9223372036854775808", "bad5,",
                          "bad6,1.5", "b, 2 "}) {
    text += std::string(row) + "\n";
  }
  ASSERT_TRUE(ReadAll(Write("b.csv", text), spec::TextSource(), &counts).ok());
  EXPECT_THAT(read_, ElementsAre("a=0/1", "b=1/2"));
  EXPECT_EQ(counts.rows, 2);
  EXPECT_EQ(counts.bad_rows, 6);
  ASSERT_EQ(warnings_.size(), 5u);
  EXPECT_THAT(warnings_[0], HasSubstr("b.csv:3: column \"n\": \"x\" is no 64-bit integer"));
  EXPECT_THAT(warnings_[1], HasSubstr("b.csv:4: 3 fields instead of 2"));
}

TEST_F(TextReaderTest, StopsOnlyBeyondBothLimits) {
  const auto status_of = [&](int good, int bad) {
    std::string text = "id,n\n";
    for (int i = 0; i < std::max(good, bad); ++i) {
      text += i < good ? "a,1\n" : "";
      text += i < bad ? "b,\n" : "";
    }
    ReadCounts counts;
    return ReadAll(Write("l.csv", text), spec::TextSource(), &counts);
  };
  policy_.max_bad_rows = 20;
  policy_.max_bad_fraction = 0.01;
  EXPECT_TRUE(status_of(990, 10).ok());       // 1 %, few
  EXPECT_TRUE(status_of(10, 20).ok());        // a large share, but few
  EXPECT_TRUE(status_of(10'000, 30).ok());    // many, but a small share
  const Status status = status_of(400, 600);  // 60 %
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("l.csv:43: column \"n\""));  // the 21st bad row
  EXPECT_THAT(status.message(), HasSubstr("600 of 1000 rows are bad"));
}

TEST_F(TextReaderTest, NumbersAreWholeFiniteAndFit) {
  double number = 0;
  EXPECT_TRUE(ParseNumber("-1.5e3", &number));
  EXPECT_EQ(number, -1500);
  for (const char* text : {"nan", "NaN", "inf", "-inf", "1e39", "1e999", "", "1x", "0x10", "1,5"}) {
    EXPECT_FALSE(ParseNumber(text, &number)) << text;
  }
  int64_t integer = 0;
  EXPECT_TRUE(ParseInteger("-9223372036854775808", &integer));
  for (const char* text : {"", "1.0", "9223372036854775808", "1 2", "0x1"}) {
    EXPECT_FALSE(ParseInteger(text, &integer)) << text;
  }
}

TEST_F(TextReaderTest, GlobsGiveSortedPathsAndNeverNothing) {
  Write("p-2.csv", "");
  Write("p-1.csv", "");
  spec::TextSource source;
  source.add_file("p-*.csv");
  source.add_file(Path("p-2.csv"));
  EXPECT_THAT(*ExpandFiles(source.file(), dir_.string()),
              ElementsAre(Path("p-1.csv"), Path("p-2.csv"), Path("p-2.csv")));
  source.add_file("q-*.csv");
  const auto none = ExpandFiles(source.file(), dir_.string());
  EXPECT_EQ(none.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(none.status().message(), HasSubstr("q-*.csv: no file has a name like that"));
}

}  // namespace
}  // namespace emporium::worker
