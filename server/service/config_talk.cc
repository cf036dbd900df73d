#include "server/service/config_talk.h"

#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"
#include "server/service/convert_build.h"
#include "server/service/convert_common.h"

namespace kdbg::service {
namespace {

constexpr std::size_t kInputBytes = 64 << 10;
// One screen and more; what the program prints while a message is on its way joins the next.
constexpr std::size_t kOutputBytes = 16 << 10;

class EditorTalk final : public ConfigTalk {
 public:
  explicit EditorTalk(std::unique_ptr<build::ConfigEditor> editor) : editor_(std::move(editor)) {}

  absl::StatusOr<Pull> Take(const v1::ConfigureKernelRequest& message) override {
    switch (message.request_case()) {
      case v1::ConfigureKernelRequest::kInput:
        KDBG_RETURN_IF_ERROR(CheckSize("input", message.input().size(), kInputBytes));
        return editor_->Type(message.input()) ? Pull::kMessage : Pull::kWait;
      case v1::ConfigureKernelRequest::kResize: {
        KDBG_ASSIGN_OR_RETURN(const host::TerminalSize size,
                              FromMessage(message.resize(), "resize"));
        editor_->Resize(size);
        return Pull::kMessage;
      }
      default:
        return InvalidField("request", "",
                            "only the first message is `start`; those after it are `input` or "
                            "`resize`");
    }
  }

  // Keys that came ahead of the program are still typed, and their result is wanted.
  Pull HalfClosed() override { return Pull::kWait; }

  absl::StatusOr<Pull> Next(v1::ConfigureKernelResponse* next) override {
    // Asked for before the output: what was printed before the end is then taken before the end.
    auto result = editor_->result();
    std::string output = editor_->TakeOutput(kOutputBytes);
    if (!output.empty()) {
      next->set_output(std::move(output));
      return Pull::kMessage;
    }
    if (!result) return Pull::kWait;
    if (!result->ok()) return result->status();
    if (answered_ || !**result) return Pull::kEnd;
    answered_ = true;
    next->set_config(ValidUtf8(***result));
    return Pull::kMessage;
  }

 private:
  const std::unique_ptr<build::ConfigEditor> editor_;
  bool answered_ = false;
};

}  // namespace

std::unique_ptr<ConfigTalk> MakeConfigTalk(std::unique_ptr<build::ConfigEditor> editor) {
  return std::make_unique<EditorTalk>(std::move(editor));
}

}  // namespace kdbg::service
