#include "client/source/directory_cache.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "proto/support/file.h"

namespace kdbg::client {
namespace {

namespace fs = std::filesystem;

class DirectoryCacheTest : public ::testing::Test {
 protected:
  DirectoryCacheTest() {
    std::string name = ::testing::TempDir() + "kdbg-cache-XXXXXX";
    home_ = fs::canonical(::mkdtemp(name.data()));
  }
  ~DirectoryCacheTest() override { fs::remove_all(home_); }
  DirectoryCache Open(const fs::path& directory, std::int64_t max_object_bytes = 1 << 20) {
    auto cache = DirectoryCache::Open(home_, directory, max_object_bytes);
    EXPECT_TRUE(cache.ok()) << cache.status();
    return *std::move(cache);
  }
  static void Put(const fs::path& path, std::string_view content = "x") {
    ASSERT_TRUE(WriteFileAtomic(path, content).ok());
  }

  fs::path home_;
};

TEST_F(DirectoryCacheTest, RemembersForEachDirectoryWhatEachServerTook) {
  ASSERT_TRUE(Open("/a").NoteSent("unix:/x", "tree1").ok());
  ASSERT_TRUE(Open("/a").NoteSent("unix:/y", "tree2").ok());
  EXPECT_EQ(Open("/a").LastSent("unix:/x"), "tree1");
  EXPECT_EQ(Open("/a").LastSent("unix:/y"), "tree2");
  EXPECT_EQ(Open("/a").LastSent("unix:/z"), "");
  EXPECT_EQ(Open("/b").LastSent("unix:/x"), "");
}

TEST_F(DirectoryCacheTest, APackStaysUntilItWasTaken) {
  fs::path pack;
  {
    const DirectoryCache cache = Open("/a");
    pack = cache.PackOf("recipe");
    EXPECT_NE(pack, cache.PackOf("another"));
    Put(pack);
  }
  const DirectoryCache cache = Open("/a");
  EXPECT_TRUE(fs::exists(pack));
  ASSERT_TRUE(cache.NoteSent("unix:/x", "tree").ok());
  EXPECT_FALSE(fs::exists(pack));
}

TEST_F(DirectoryCacheTest, WhoIsDoneFirstLeavesTheOtherItsPack) {
  const DirectoryCache first = Open("/a");
  const DirectoryCache second = Open("/a");
  const fs::path pack = second.PackOf("recipe");
  Put(pack);
  ASSERT_TRUE(first.NoteSent("unix:/x", "tree").ok());
  EXPECT_TRUE(fs::exists(pack));
  EXPECT_EQ(second.LastSent("unix:/x"), "tree");
}

TEST_F(DirectoryCacheTest, StartsAnewWhenItHasGrownAndNobodyIsUsingIt) {
  fs::path object;
  {
    const DirectoryCache cache = Open("/a");
    object = cache.objects() / "12" / "34";
    fs::create_directories(object.parent_path());
    Put(object, std::string(2000, 'x'));
    Put(cache.Scratch("index"));
    const DirectoryCache meanwhile = Open("/a", 1000);
    EXPECT_TRUE(fs::exists(object));
    EXPECT_TRUE(fs::exists(cache.Scratch("index")));
  }
  const DirectoryCache roomy = Open("/a", 3000);
  EXPECT_TRUE(fs::exists(object));
  EXPECT_FALSE(fs::exists(roomy.Scratch("index")));
}

TEST_F(DirectoryCacheTest, GrownObjectsAreGoneAtTheNextUse) {
  fs::path object;
  {
    const DirectoryCache cache = Open("/a");
    object = cache.objects() / "pack";
    Put(object, std::string(2000, 'x'));
  }
  const DirectoryCache cache = Open("/a", 1000);
  EXPECT_FALSE(fs::exists(object));
  EXPECT_TRUE(fs::is_directory(cache.objects()));
}

}  // namespace
}  // namespace kdbg::client
