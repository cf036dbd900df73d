// Sessions that may be clones of templates.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "server/guest/ram_image.h"
#include "server/session/template_pool.h"
#include "tests/unit/session/sessions_fixture.h"

namespace kdbg::session {

class TemplateFixture : public SessionsTest {
 protected:
  TemplateFixture() {
    limits_.template_memory_mib = 1024;
    request_.memory_mib = 16;
    Open();
  }
  ~TemplateFixture() override {
    sessions_.reset();
    guest::EndStrayKeepers(Templates(), {});
  }

  std::filesystem::path Templates() const { return root_ / "templates"; }

  std::vector<std::filesystem::path> Folders() const {
    std::vector<std::filesystem::path> folders;
    std::error_code none_yet;
    for (const auto& folder : std::filesystem::directory_iterator(Templates(), none_yet)) {
      if (std::filesystem::exists(folder.path() / "manifest")) folders.push_back(folder.path());
    }
    return folders;
  }

  bool AwaitTemplates(std::size_t count) {
    return sessions_->templates().Await(
        [count](const std::vector<std::string>& keys) { return keys.size() == count; },
        absl::Seconds(20));
  }
  bool AwaitOther(const std::vector<std::string>& than) {
    return sessions_->templates().Await(
        [&](const std::vector<std::string>& keys) { return keys.size() == 1 && keys != than; },
        absl::Seconds(20));
  }

  SessionRecord Ready(std::string_view owner = "alice") {
    const auto created = sessions_->Create(owner, request_);
    EXPECT_TRUE(created.ok()) << created.status();
    return AwaitState(created->id, SessionState::kReady);
  }
  void MakeTemplate() {
    EXPECT_EQ(Ready().origin, Origin::kCold);
    EXPECT_EQ(Ready().origin, Origin::kCold);
    ASSERT_TRUE(AwaitTemplates(1));
  }
};

}  // namespace kdbg::session
