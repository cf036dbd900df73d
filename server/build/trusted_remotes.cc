#include "server/build/trusted_remotes.h"

#include <fmt/format.h>

#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/observe/log.h"
#include "server/source/git_mirrors.h"
#include "server/source/remote_url.h"
#include "server/source/trusted_sources.h"

namespace kdbg::build {
namespace {

using source::SourceRecord;
using source::SourceState;

constexpr int kMostFetched = 1000;

}  // namespace

absl::StatusOr<TrustedRemote> TrustedRemote::Parse(const std::string& text) {
  const std::size_t hash = text.rfind('#');
  TrustedRemote remote{.url = text.substr(0, hash),
                       .ref = hash == std::string::npos ? "HEAD" : text.substr(hash + 1)};
  if (!source::IsRefName(remote.ref)) {
    return InvalidField("trusted_remotes", text, fmt::format("{}: no ref behind the #", text));
  }
  KDBG_ASSIGN_OR_RETURN(
      const source::RemoteUrl url,
      source::CheckRemoteUrl("trusted_remotes", remote.url, std::span(&remote.url, 1)));
  remote.url = url.text;
  return remote;
}

absl::Status TrustedRemotes::KeepUp() {
  absl::MutexLock lock(&mutex_);
  absl::Status all;
  for (const TrustedRemote& remote : settings_.remotes) all.Update(KeepUp(remote));
  return all;
}

absl::Status TrustedRemotes::KeepUp(const TrustedRemote& remote) {
  const std::string name = remote.url + "#" + remote.ref;
  const auto begun = begun_.find(name);
  const absl::Duration now = clock_.Monotonic();
  if (begun != begun_.end() && now < begun->second + settings_.period) return absl::OkStatus();
  KDBG_ASSIGN_OR_RETURN(const std::vector<SourceRecord> newest_first, Fetched(remote));
  if (!newest_first.empty() && newest_first.front().state == SourceState::kImporting) {
    return absl::OkStatus();
  }
  begun_[name] = now;
  KDBG_RETURN_IF_ERROR(Settle(newest_first));
  source::SourceRequest request;
  request.owner = source::kTrustedOwner;
  request.origin.kind = source::OriginKind::kGitUrl;
  request.origin.text = remote.url;
  request.origin.ref = remote.ref;
  return sources_.Create(request).status();
}

absl::Status TrustedRemotes::Settle(const std::vector<SourceRecord>& newest_first) {
  absl::Status all;
  std::set<std::string_view> kept;
  // The oldest of a tree is the one it was built of.
  std::vector<const SourceRecord*> distinct;
  for (auto source = newest_first.rbegin(); source != newest_first.rend(); ++source) {
    if (source->state == SourceState::kReady && kept.insert(source->tree).second) {
      distinct.push_back(&*source);
      continue;
    }
    if (source->failure) {
      spdlog::warn("{} was not fetched: {}", source->origin.text, source->failure->message);
    }
    all.Update(sources_.Delete(source->id));
  }
  for (std::size_t i = 0; i + settings_.commits_kept < distinct.size(); ++i) {
    const absl::Status retired = builds_.Retire(*distinct[i]);
    if (absl::IsAborted(retired)) continue;  // somebody starts from it just now
    all.Update(retired.ok() ? sources_.Delete(distinct[i]->id) : retired);
  }
  return all;
}

absl::StatusOr<std::vector<SourceRecord>> TrustedRemotes::Fetched(
    const TrustedRemote& remote) const {
  KDBG_ASSIGN_OR_RETURN(
      std::vector<SourceRecord> sources,
      sources_.List({.owner = std::string(source::kTrustedOwner), .limit = kMostFetched}));
  std::erase_if(sources, [&](const SourceRecord& source) {
    return source.origin.kind != source::OriginKind::kGitUrl || source.origin.text != remote.url ||
           source.origin.ref != remote.ref;
  });
  return sources;
}

}  // namespace kdbg::build
