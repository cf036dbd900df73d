#include "client/commands/menuconfig.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "client/terminal/input_pump.h"
#include "client/terminal/raw_terminal.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

namespace fs = std::filesystem;
using Stream = grpc::ClientReaderWriter<v1::ConfigureKernelRequest, v1::ConfigureKernelResponse>;

absl::Status CheckTerminal() {
  if (::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "menuconfig needs a terminal; without one, kdbgctl kernel build --config and --set change a "
      "config");
}

// Before the user has worked for an hour on what cannot be saved.
absl::Status CheckWritable(const fs::path& output) {
  const fs::path directory = output.has_parent_path() ? output.parent_path() : ".";
  std::error_code error;
  if (fs::is_directory(output, error)) {
    return absl::InvalidArgumentError(
        fmt::format("{} is a directory: name a file with -O", output.string()));
  }
  if (::access(directory.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return ErrnoError(errno, fmt::format("save to {}: {}", output.string(), directory.string()));
}

v1::TerminalSize SizeNow() {
  const TerminalSize size = SizeOfTerminal(STDOUT_FILENO).value_or(TerminalSize());
  v1::TerminalSize message;
  message.set_columns(size.columns);
  message.set_rows(size.rows);
  return message;
}

// What is typed, and each new size of the window, until the stream ends.
PumpEnd SendInput(Stream& stream, const StopSignal& stream_ended, const ResizeSignal& resized) {
  return PumpInput(STDIN_FILENO, stream_ended,
                   [&](std::string_view typed) {
                     v1::ConfigureKernelRequest message;
                     message.set_input(std::string(typed));
                     return stream.Write(message);
                   },
                   {.fd = resized.fd(), .readable = [&] {
                      resized.Clear();
                      v1::ConfigureKernelRequest message;
                      *message.mutable_resize() = SizeNow();
                      return stream.Write(message);
                    }});
}

// The config as it was saved; nullopt when it was not.
absl::StatusOr<std::optional<std::string>> Edit(Context& context,
                                                v1::ConfigureKernelRequest& start) {
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  const ResizeSignal resized;
  *start.mutable_start()->mutable_size() = SizeNow();
  KDBG_ASSIGN_OR_RETURN(RawTerminal entered, RawTerminal::Enter(STDIN_FILENO));
  std::optional<RawTerminal> raw(std::move(entered));
  grpc::ClientContext call;
  StopSignal stream_ended;
  Interrupt::Scope scope(context.interrupt(), [&] {
    call.TryCancel();
    stream_ended.Set();
  });
  const auto stream = server->stub<v1::BuildService>().ConfigureKernel(&call);
  stream->Write(start);
  std::optional<std::string> config;
  std::thread reader([&] {
    v1::ConfigureKernelResponse response;
    while (stream->Read(&response)) {
      if (response.has_config()) config = std::move(*response.mutable_config());
      raw->Watch(response.output());
      Output::Write(response.output());
    }
    stream_ended.Set();
  });
  // A terminal that has gone is a user who has.
  if (SendInput(*stream, stream_ended, resized) == PumpEnd::kEndOfInput) call.TryCancel();
  reader.join();
  const grpc::Status status = stream->Finish();
  raw.reset();
  if (scope.fired()) return InterruptedError();
  if (!status.ok()) return server->Translate(status);
  return config;
}

// As Kconfig does it: what was there stays as FILE.old. There is a FILE at any moment.
absl::Status Save(const fs::path& output, const std::string& config) {
  std::error_code error;
  if (fs::exists(output, error)) {
    const fs::path old = output.string() + ".old";
    fs::remove(old, error);
    fs::create_hard_link(output, old, error);
    if (error) fs::copy_file(output, old, fs::copy_options::overwrite_existing, error);
    if (error) {
      return ErrnoError(error.value(), fmt::format("keep {} as {}", output.string(), old.string()));
    }
  }
  return WriteFileAtomic(output, config);
}

CommandEnd Keep(Context& context, const MenuconfigOptions& options, const std::string& config) {
  std::error_code error;
  fs::path output = options.output;
  if (fs::is_symlink(output, error)) output = fs::canonical(output, error);
  const auto before = ReadFile(output);
  if (before.ok() && *before == config) {
    context.output().Note(fmt::format("{} is as it was", options.output));
    return kExitDone;
  }
  const absl::Status saved = Save(output, config);
  if (!saved.ok()) {
    const fs::path refuge = fs::temp_directory_path(error) / fmt::format("config-{}", ::getpid());
    KDBG_RETURN_IF_ERROR(WriteFileAtomic(refuge, config, 0600));
    return absl::Status(saved.code(), fmt::format("{}; the config is in {}",
                                                  std::string(saved.message()), refuge.string()));
  }
  context.output().Note(
      fmt::format("saved {}{}: kdbgctl kernel build {} --config {}", options.output,
                  before.ok() ? fmt::format(" (before: {}.old)", options.output) : std::string(),
                  options.kernel.source.text, options.output));
  return kExitDone;
}

}  // namespace

CommandEnd Menuconfig(Context& context, const MenuconfigOptions& options) {
  KDBG_RETURN_IF_ERROR(CheckTerminal());
  KDBG_RETURN_IF_ERROR(CheckWritable(options.output));
  KernelBuildOptions kernel = options.kernel;
  std::error_code error;
  if (kernel.configs.empty() && fs::exists(options.output, error)) {
    kernel.configs.push_back(options.output);
    context.output().Note(
        fmt::format("going on with {}; --config tiny starts anew", options.output));
  }
  v1::ConfigureKernelRequest start;
  KDBG_ASSIGN_OR_RETURN(*start.mutable_start()->mutable_kernel(), KernelSpecOf(kernel));
  if (options.nconfig) start.mutable_start()->set_program(v1::ConfigureKernelRequest::NCONFIG);
  const char* type = std::getenv("TERM");
  start.mutable_start()->set_terminal(type != nullptr && *type != '\0' ? type : "xterm");
  KDBG_ASSIGN_OR_RETURN(const v1::Source source, ImportSource(context, kernel.source));
  if (source.state() == v1::Source::FAILED) return ReportSource(context, source);
  start.mutable_start()->set_source(source.name());
  KDBG_ASSIGN_OR_RETURN(const std::optional<std::string> config, Edit(context, start));
  if (config) return Keep(context, options, *config);
  context.output().Note("nothing was saved");
  return kExitDone;
}

}  // namespace kdbg::client
