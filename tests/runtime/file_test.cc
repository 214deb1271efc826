#include "runtime/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

namespace emporium::runtime {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "/emporium_file_test." + std::to_string(::getpid());
    std::filesystem::remove_all(dir_);
    ASSERT_TRUE(MakeDirs(dir_ + "/a/b").ok());
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  size_t Entries() const {
    return std::distance(std::filesystem::directory_iterator(dir_),
                         std::filesystem::directory_iterator());
  }
  std::string dir_;
};

TEST_F(FileTest, WritesWholeFilesAndReadsThemBack) {
  const std::string path = dir_ + "/file";
  for (size_t size : {size_t{0}, size_t{1}, size_t{1} << 18, (size_t{1} << 20) + 3}) {
    std::string bytes(size, 'x');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7);
    ASSERT_TRUE(WriteFileDurably(path, bytes).ok());
    auto read = ReadFile(path);
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(*read, bytes);
    EXPECT_EQ(*Sha256OfFile(path), Sha256(bytes));
  }
  EXPECT_EQ(Entries(), 2u);  // a/ and the file; nothing temporary
}

TEST_F(FileTest, Sha256IsTheStandards) {
  EXPECT_EQ(Sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

// What `printf abc | xxh128sum` says.
TEST_F(FileTest, Xxh3IsTheStandards) {
  const std::string path = dir_ + "/abc";
  ASSERT_TRUE(WriteFileDurably(path, "abc").ok());
  EXPECT_EQ(*Xxh3OfFile(path), "06b05ab6733a618578af5f94892f3950");
  ASSERT_TRUE(WriteFileDurably(path, "").ok());
  EXPECT_EQ(*Xxh3OfFile(path), "99aa06d3014798d86001c324468d497f");
}

TEST_F(FileTest, FailuresNameThePathAndLeaveNothing) {
  const Status missing = WriteFileDurably(dir_ + "/none/file", "x");
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_NE(missing.message().find(dir_ + "/none/file"), std::string::npos);
  // A directory of the target's name cannot be replaced: the temporary file goes away again.
  EXPECT_FALSE(WriteFileDurably(dir_ + "/a", "x").ok());
  EXPECT_EQ(Entries(), 1u);
  EXPECT_EQ(ReadFile(dir_ + "/none").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Sha256OfFile(dir_ + "/none").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Xxh3OfFile(dir_ + "/none").status().code(), StatusCode::kNotFound);
  EXPECT_FALSE(MakeDirs("/dev/null/x").ok());
  EXPECT_FALSE(RenameDurably(dir_ + "/none", dir_ + "/other").ok());
  EXPECT_FALSE(FsyncFile(dir_ + "/none").ok());
}

TEST_F(FileTest, FullDiskIsResourceExhausted) {
  const std::string link = dir_ + "/full.tmp." + std::to_string(::getpid());
  ASSERT_EQ(::symlink("/dev/full", link.c_str()), 0);
  const Status status = WriteFileDurably(dir_ + "/full", "x");
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status.ToString();
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(FileTest, RenamesAndLists) {
  for (const char* name : {"/c.csv", "/a.csv", "/b.txt"}) {
    ASSERT_TRUE(WriteFileDurably(dir_ + name, name).ok());
  }
  ASSERT_TRUE(RenameDurably(dir_ + "/b.txt", dir_ + "/b.csv").ok());
  auto found = Glob(dir_ + "/*.csv");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, (std::vector<std::string>{dir_ + "/a.csv", dir_ + "/b.csv", dir_ + "/c.csv"}));
  EXPECT_TRUE(Glob(dir_ + "/*.none")->empty());
  EXPECT_TRUE(FsyncDir(dir_).ok());
  EXPECT_TRUE(FsyncFile(dir_ + "/a.csv").ok());
}

TEST_F(FileTest, ADirectoryTakesTheNameOfAnother) {
  const auto make = [&](const std::string& name, const std::string& content) {
    ASSERT_TRUE(MakeDirs(dir_ + name).ok());
    ASSERT_TRUE(WriteFileDurably(dir_ + name + "/file", content).ok());
  };
  make("/made", "first");
  ASSERT_TRUE(ReplaceDirDurably(dir_ + "/made", dir_ + "/final").ok());
  EXPECT_EQ(*ReadFile(dir_ + "/final/file"), "first");
  make("/made", "second");
  ASSERT_TRUE(ReplaceDirDurably(dir_ + "/made", dir_ + "/final").ok());
  EXPECT_EQ(*ReadFile(dir_ + "/final/file"), "second");
  EXPECT_FALSE(FsyncDir(dir_ + "/made").ok());

  EXPECT_EQ(ReplaceDirDurably(dir_ + "/made", dir_ + "/final").code(), StatusCode::kNotFound);
  EXPECT_EQ(*ReadFile(dir_ + "/final/file"), "second");
}

// As a checkpoint is removed that servers are still at: its names change meanwhile.
TEST_F(FileTest, ADirectoryIsRemovedWhileOthersRenameInIt) {
  for (int round = 0; round < 300; ++round) {
    const std::string dir = dir_ + "/shared";
    ASSERT_TRUE(MakeDirs(dir).ok());
    const auto name = [&](int i) { return dir + "/" + std::to_string(i); };
    for (int i = 0; i < 20; ++i) std::ofstream(name(i) + ".tmp") << i;
    std::thread other([&] {
      for (int i = 19; i >= 0; --i) {
        // Whatever comes of it.
        (void)std::rename((name(i) + ".tmp").c_str(), name(i).c_str());
        if (i % 2 == 0) (void)std::remove(name(i).c_str());
      }
    });
    const Status status = RemoveDir(dir);
    other.join();
    ASSERT_TRUE(status.ok()) << status.ToString();
    ASSERT_FALSE(std::filesystem::exists(dir));
  }
}

}  // namespace
}  // namespace emporium::runtime
