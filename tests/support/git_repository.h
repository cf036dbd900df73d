// A real git repository in a folder, driven by the git command line with nothing of this machine's
// configuration. A step that fails ends the program: it would be the test's own mistake.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kdbg {

class GitRepository {
 public:
  // Makes `folder` and a repository in it.
  explicit GitRepository(std::filesystem::path folder,
                         const std::vector<std::string>& init_options = {});

  const std::filesystem::path& folder() const { return folder_; }

  void Write(const std::string& path, std::string_view content) const;
  void Remove(const std::string& path) const;

  // What git printed, without the last line feed.
  std::string Git(const std::vector<std::string>& arguments, std::string_view input = {}) const;

  // Adds everything and commits; the commit's tree.
  std::string Commit() const;
  // The object's id; written as it is, however wrong.
  std::string AddObject(std::string_view type, std::string_view content) const;
  // A tree of such entries, in this order: "100644 name", id.
  struct Entry {
    std::string mode_and_name;
    std::string id;
  };
  std::string AddTree(const std::vector<Entry>& entries) const;

  // A pack of exactly these objects.
  std::string Pack(const std::vector<std::string>& ids) const;
  // A pack of all that `tree` has and `base` has not, as deltas that build on objects of `base`
  // where that is shorter; "" for no base.
  std::string PackOfDifference(const std::string& tree, const std::string& base) const;

 private:
  std::filesystem::path folder_;
};

// A pack of one object: a delta on an object that is not in it, of `base_size` bytes (less than
// 64 KiB), which is the base with `appended` (less than 128 bytes) behind it.
std::string PackOfDelta(std::string_view base_id, std::size_t base_size, std::string_view appended);

}  // namespace kdbg
