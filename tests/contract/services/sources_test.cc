// Uploads and sources over the wire.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>

#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "proto/support/sha256.h"
#include "tests/contract/kit/test_daemon.h"
#include "tests/support/git_repository.h"

namespace kdbg {
namespace {

class SourcesTest : public testing::Test {
 protected:
  explicit SourcesTest(service::GateLimits gate = {}) : daemon_(gate) {}

  absl::StatusOr<v1::Upload> Announce(Client& client, const std::string& bytes) {
    v1::CreateUploadRequest request;
    request.set_sha256(Sha256Hex(bytes));
    request.set_size_bytes(static_cast<std::int64_t>(bytes.size()));
    grpc::ClientContext context;
    v1::Upload upload;
    const grpc::Status status = client.sources->CreateUpload(&context, request, &upload);
    if (!status.ok()) return FromGrpcStatus(status);
    return upload;
  }

  absl::StatusOr<v1::Upload> Send(Client& client, const std::string& name, std::int64_t offset,
                                  const std::string& bytes, std::size_t chunk = 1000) {
    grpc::ClientContext context;
    v1::Upload upload;
    const auto writer = client.sources->WriteUpload(&context, &upload);
    v1::WriteUploadRequest request;
    request.set_name(name);
    request.set_offset_bytes(offset);
    for (std::size_t at = 0; at < bytes.size(); at += chunk) {
      request.set_data(bytes.substr(at, chunk));
      if (!writer->Write(request)) break;
      request.Clear();
    }
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    if (!status.ok()) return FromGrpcStatus(status);
    return upload;
  }

  absl::StatusOr<v1::Source> CreateSource(Client& client, const v1::CreateSourceRequest& request) {
    grpc::ClientContext context;
    v1::Source source;
    const grpc::Status status = client.sources->CreateSource(&context, request, &source);
    if (!status.ok()) return FromGrpcStatus(status);
    return source;
  }

  v1::CreateSourceRequest TarballRequest(const std::string& upload, const std::string& bytes) {
    v1::CreateSourceRequest request;
    request.mutable_source()->mutable_tarball()->set_upload(upload);
    request.mutable_source()->mutable_tarball()->set_sha256(Sha256Hex(bytes));
    request.mutable_source()->mutable_tarball()->set_file_name("tree.tar");
    return request;
  }

  // Everything WatchSource says; the last one is the final state.
  std::vector<v1::Source> Watch(Client& client, const std::string& name) {
    grpc::ClientContext context;
    v1::GetSourceRequest request;
    request.set_name(name);
    const auto reader = client.sources->WatchSource(&context, request);
    std::vector<v1::Source> all;
    v1::Source source;
    while (reader->Read(&source)) all.push_back(source);
    EXPECT_TRUE(reader->Finish().ok());
    return all;
  }

  absl::StatusOr<std::vector<std::string>> Query(Client& client,
                                                 const std::vector<std::string>& ids) {
    v1::QueryKnownObjectsRequest request;
    for (const std::string& id : ids) request.add_object_ids(id);
    grpc::ClientContext context;
    v1::QueryKnownObjectsResponse response;
    const grpc::Status status = client.sources->QueryKnownObjects(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return std::vector<std::string>(response.known_object_ids().begin(),
                                    response.known_object_ids().end());
  }

  v1::CreateSourceRequest PackRequest(const std::string& tree, const std::string& pack) {
    v1::CreateSourceRequest request;
    v1::Source::GitPack& origin = *request.mutable_source()->mutable_git_pack();
    origin.set_tree(tree);
    origin.set_commit("v6.1-3-g0123456");
    origin.set_dirty(true);
    origin.set_directory("/home/alice/linux");
    origin.set_pack(pack);
    return request;
  }

  TestDaemon daemon_;
  Client alice_ = daemon_.As(kAlice);
  Client bob_ = daemon_.As(kBob);
};

TEST_F(SourcesTest, AnUploadIsResumedWhereItBroke) {
  const std::string bytes = std::string(5000, 'a') + std::string(5000, 'b');
  const auto upload = Announce(alice_, bytes);
  ASSERT_TRUE(upload.ok()) << upload.status();
  const auto half = Send(alice_, upload->name(), 0, bytes.substr(0, 4000));
  ASSERT_TRUE(half.ok()) << half.status();
  EXPECT_EQ(half->received_bytes(), 4000);
  EXPECT_FALSE(half->complete());
  const auto again = Announce(alice_, bytes);  // the same upload, with as much as there is
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->name(), upload->name());
  EXPECT_EQ(again->received_bytes(), 4000);
  const auto wrong = Send(alice_, upload->name(), 1000, "x");
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(HasReason(wrong.status(), Reason::kOffsetOutOfRange));
  const auto whole = Send(alice_, upload->name(), 4000, bytes.substr(4000));
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_TRUE(whole->complete());
}

TEST_F(SourcesTest, BytesThatHashToSomethingElseAreLost) {
  const auto upload = Announce(alice_, "right");
  ASSERT_TRUE(upload.ok());
  const auto sent = Send(alice_, upload->name(), 0, "wrong");
  EXPECT_EQ(sent.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(HasReason(sent.status(), Reason::kDigestMismatch));
  EXPECT_EQ(Announce(alice_, "right")->received_bytes(), 0);
}

TEST_F(SourcesTest, AClientGoneInMidUploadLeavesWhatArrivedAndNoLock) {
  const std::string bytes(8000, 'a');
  const auto upload = Announce(alice_, bytes);
  ASSERT_TRUE(upload.ok());
  {
    grpc::ClientContext context;
    v1::Upload answer;
    const auto writer = alice_.sources->WriteUpload(&context, &answer);
    v1::WriteUploadRequest request;
    request.set_name(upload->name());
    request.set_data(bytes.substr(0, 3000));
    ASSERT_TRUE(writer->Write(request));
    context.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  // As a client does it: ask, then send the rest from there, again if the old stream was still
  // ending.
  absl::StatusOr<v1::Upload> sent;
  do {
    const std::int64_t there = Announce(alice_, bytes)->received_bytes();
    sent = Send(alice_, upload->name(), there, bytes.substr(static_cast<std::size_t>(there)));
  } while (absl::IsOutOfRange(sent.status()));
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_TRUE(sent->complete());
}

class PacedUploadTest : public SourcesTest {
 protected:
  PacedUploadTest() : SourcesTest({.upload_bytes_per_second = 100'000}) {}
};

TEST_F(PacedUploadTest, AnUploadComesNoFasterThanItsOwnersRate) {
  const std::string bytes(40'000, 'a');
  const auto upload = Announce(alice_, bytes);
  const absl::Time begin = absl::Now();
  const auto sent = Send(alice_, upload->name(), 0, bytes, 10'000);
  EXPECT_TRUE(sent->complete());
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(300)) << "the last one is waited for by nobody";
}

TEST_F(SourcesTest, AnotherUsersUploadIsNotThereEvenAsASource) {
  const std::string tar = daemon_.Tar({{"a", "secret"}});
  const auto upload = Announce(alice_, tar);
  ASSERT_TRUE(Send(alice_, upload->name(), 0, tar).ok());
  EXPECT_EQ(Send(bob_, upload->name(), 0, tar).status().code(), absl::StatusCode::kNotFound);
  const auto stolen = CreateSource(bob_, TarballRequest(upload->name(), tar));
  EXPECT_EQ(stolen.status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SourcesTest, ATarballBecomesAReadySourceAndASecondTimeAtOnce) {
  const std::string tar = daemon_.Tar({{"src/a.c", "int a;\n"}});
  const auto upload = Announce(alice_, tar);
  ASSERT_TRUE(Send(alice_, upload->name(), 0, tar).ok());
  const auto source = CreateSource(alice_, TarballRequest(upload->name(), tar));
  ASSERT_TRUE(source.ok()) << source.status();
  const auto states = Watch(alice_, source->name());
  ASSERT_FALSE(states.empty());
  EXPECT_EQ(states.back().state(), v1::Source::READY) << states.back().ShortDebugString();
  EXPECT_EQ(states.back().owner(), "alice");
  EXPECT_EQ(states.back().tree().size(), 40u);
  const auto again = CreateSource(alice_, TarballRequest("", tar));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->state(), v1::Source::READY);
  // By digest alone nobody learns what another has.
  EXPECT_FALSE(CreateSource(bob_, TarballRequest("", tar)).ok());
}

TEST_F(SourcesTest, AFileThatIsNoTarballFailsAsASubjectNotAsACall) {
  const std::string bytes = "this is no tarball";
  const auto upload = Announce(alice_, bytes);
  ASSERT_TRUE(Send(alice_, upload->name(), 0, bytes).ok());
  const auto source = CreateSource(alice_, TarballRequest(upload->name(), bytes));
  ASSERT_TRUE(source.ok()) << source.status();
  const v1::Source last = Watch(alice_, source->name()).back();
  EXPECT_EQ(last.state(), v1::Source::FAILED);
  EXPECT_EQ(last.failure().reason(), "NOT_AN_ARCHIVE");
  EXPECT_FALSE(last.failure().message().empty());
}

TEST_F(SourcesTest, AServerPathIsTakenOnlyWhereTheAdminAllowsIt) {
  const std::string tar = daemon_.Tar({{"a", "x"}});
  std::ofstream(daemon_.allowed_path() / "tree.tar") << tar;
  v1::CreateSourceRequest request;
  request.mutable_source()->mutable_server_path()->set_path("/etc/passwd");
  const auto refused = CreateSource(alice_, request);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied) << refused.status();
  request.mutable_source()->mutable_server_path()->set_path("relative.tar");
  EXPECT_EQ(CreateSource(alice_, request).status().code(), absl::StatusCode::kInvalidArgument);
}

// They have no account whose rights it could be read with, and the daemon's are not for lending.
TEST_F(SourcesTest, WhoComesByACertificateNamesNoFilesOnTheServer) {
  std::ofstream(daemon_.allowed_path() / "tree.tar") << daemon_.Tar({{"a", "x"}});
  Client carol = daemon_.AsEnrolled("carol");
  v1::CreateSourceRequest path;
  path.mutable_source()->mutable_server_path()->set_path(daemon_.allowed_path() / "tree.tar");
  v1::CreateSourceRequest url;
  url.mutable_source()->mutable_git_url()->set_url("FILE:///srv/git/linux.git");
  url.mutable_source()->mutable_git_url()->set_ref("main");
  for (const v1::CreateSourceRequest& request : {path, url}) {
    const absl::Status status = CreateSource(carol, request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
    EXPECT_TRUE(HasReason(status, Reason::kPathNotAllowed));
    EXPECT_NE(status.message().find("by a certificate"), status.message().npos) << status;
  }
  EXPECT_NE(daemon_.Import(carol, {{"a", "x"}}), "") << "what they send is theirs";
}

TEST_F(SourcesTest, AWorkTreeIsSentAsAPackAndKnownFromThenOn) {
  const GitRepository work(daemon_.directory() / "work");
  work.Write("a.c", "int a;\n");
  const std::string tree = work.Commit();
  const std::string blob = work.Git({"rev-parse", "HEAD:a.c"});
  EXPECT_THAT(*Query(alice_, {tree, blob}), testing::IsEmpty());
  const auto source = CreateSource(alice_, PackRequest(tree, work.PackOfDifference(tree, "")));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->state(), v1::Source::READY);
  EXPECT_EQ(source->tree(), tree);
  EXPECT_EQ(source->git_pack().tree(), tree);
  EXPECT_EQ(source->git_pack().commit(), "v6.1-3-g0123456");
  EXPECT_TRUE(source->git_pack().dirty());
  EXPECT_EQ(source->git_pack().directory(), "/home/alice/linux");
  EXPECT_EQ(source->git_pack().pack(), "");
  EXPECT_THAT(*Query(alice_, {std::string(40, '7'), blob, std::string(64, '7'), tree}),
              testing::ElementsAre(blob, tree));
  EXPECT_THAT(*Query(bob_, {tree, blob}), testing::IsEmpty());
  EXPECT_EQ(CreateSource(alice_, PackRequest(tree, ""))->name(), source->name());
  const auto by_bob = CreateSource(bob_, PackRequest(tree, ""));
  EXPECT_EQ(by_bob.status().code(), absl::StatusCode::kNotFound) << by_bob.status();
}

TEST_F(SourcesTest, APackMayAlsoBeAnUpload) {
  const GitRepository work(daemon_.directory() / "work");
  work.Write("a.c", "int a;\n");
  const std::string tree = work.Commit();
  const std::string pack = work.PackOfDifference(tree, "");
  const auto upload = Announce(alice_, pack);
  ASSERT_TRUE(upload.ok());
  v1::CreateSourceRequest request = PackRequest(tree, "");
  request.mutable_source()->mutable_git_pack()->set_upload(upload->name());
  const auto early = CreateSource(alice_, request);
  EXPECT_EQ(early.status().code(), absl::StatusCode::kFailedPrecondition) << early.status();
  ASSERT_TRUE(Send(alice_, upload->name(), 0, pack).ok());
  const auto stolen = CreateSource(bob_, request);
  EXPECT_EQ(stolen.status().code(), absl::StatusCode::kNotFound) << stolen.status();
  const auto source = CreateSource(alice_, request);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(Watch(alice_, source->name()).back().state(), v1::Source::READY);
}

TEST_F(SourcesTest, APackOfATreeThatLacksObjectsSaysSo) {
  const GitRepository work(daemon_.directory() / "work");
  const std::string tree = work.AddTree({{"100644 a", std::string(40, '5')}});
  const auto source = CreateSource(alice_, PackRequest(tree, work.Pack({tree})));
  EXPECT_EQ(source.status().code(), absl::StatusCode::kFailedPrecondition) << source.status();
  EXPECT_TRUE(HasReason(source.status(), Reason::kObjectsMissing));
  EXPECT_EQ(GetErrorDetail(source.status())->metadata.at("object"), std::string(40, '5'));
}

TEST_F(SourcesTest, WhatIsNoRequestForAPackIsRefused) {
  const std::string tree(40, 'a');
  std::vector<v1::CreateSourceRequest> requests = {
      PackRequest("", ""),
      PackRequest("HEAD", ""),
      PackRequest(std::string(40, 'A'), ""),
      PackRequest(std::string(64, 'a'), ""),
      PackRequest(tree, "no pack"),
      PackRequest(tree, std::string((1 << 20) + 1, 'x'))};
  requests.push_back(PackRequest(tree, "PACK"));
  requests.back().mutable_source()->mutable_git_pack()->set_upload("uploads/u-1");
  requests.push_back(PackRequest(tree, ""));
  requests.back().mutable_source()->mutable_git_pack()->add_delta_bases("base");
  for (const v1::CreateSourceRequest& request : requests) {
    const auto refused = CreateSource(alice_, request);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << refused.status();
  }
}

TEST_F(SourcesTest, APatchedSourceIsReadyAtOnceAndNothingOfOthersCanBePatched) {
  const std::string base = daemon_.Import(alice_, {{"Makefile", "x\n"}});
  v1::CreateSourceRequest request;
  v1::Source::Patched& patched = *request.mutable_source()->mutable_patched();
  patched.set_source(base);
  patched.add_patches()->set_name("new.patch");
  patched.mutable_patches(0)->set_text("--- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+int x;\n");
  const auto source = CreateSource(alice_, request);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->state(), v1::Source::READY);
  EXPECT_EQ(source->patched().source(), base);
  ASSERT_EQ(source->patched().patches_size(), 1);
  EXPECT_EQ(source->patched().patches(0).name(), "new.patch");
  EXPECT_EQ(source->patched().patches(0).text(), "");
  EXPECT_EQ(CreateSource(bob_, request).status().code(), absl::StatusCode::kNotFound);
  patched.mutable_patches(0)->set_text("hello");
  EXPECT_TRUE(HasReason(CreateSource(alice_, request).status(), Reason::kPatchInvalid));
  patched.mutable_patches(0)->set_text(std::string((4 << 20) + 1, 'x'));
  EXPECT_TRUE(HasReason(CreateSource(alice_, request).status(), Reason::kFieldInvalid));
  patched.clear_patches();
  EXPECT_TRUE(HasReason(CreateSource(alice_, request).status(), Reason::kFieldInvalid));
}

TEST_F(SourcesTest, AQuestionForObjectsIsBounded) {
  EXPECT_TRUE(Query(alice_, {}).ok());
  EXPECT_TRUE(Query(alice_, std::vector<std::string>(4096, std::string(40, '1'))).ok());
  const auto many = Query(alice_, std::vector<std::string>(4097, std::string(40, '1')));
  EXPECT_EQ(many.status().code(), absl::StatusCode::kInvalidArgument) << many.status();
  for (const std::string& id : {std::string("HEAD"), std::string(39, '1'), std::string(40, 'G'),
                                std::string(40, 'A'), std::string()}) {
    EXPECT_EQ(Query(alice_, {id}).status().code(), absl::StatusCode::kInvalidArgument) << id;
  }
}

TEST_F(SourcesTest, FilesComeInTheOrderAskedForInChunksAndMissingOnesAreSaid) {
  const std::string big(150'000, 'b');
  const std::string source =
      daemon_.Import(alice_, {{"big.c", big}, {"empty.c", ""}, {"small.c", "s\n"}});
  v1::ReadSourceFilesRequest request;
  request.set_name(source);
  for (const char* path : {"small.c", "big.c", "none.c", "empty.c"}) request.add_paths(path);
  grpc::ClientContext context;
  const auto reader = alice_.sources->ReadSourceFiles(&context, request);
  std::map<std::string, std::string> files;
  std::vector<std::string> ends;
  v1::SourceFileChunk chunk;
  while (reader->Read(&chunk)) {
    EXPECT_LE(chunk.data().size(), 65536u);
    EXPECT_EQ(chunk.missing(), chunk.path() == "none.c");
    EXPECT_EQ(chunk.offset_bytes(), static_cast<std::int64_t>(files[chunk.path()].size()));
    files[chunk.path()] += chunk.data();
    if (chunk.last()) ends.push_back(chunk.path());
  }
  ASSERT_TRUE(reader->Finish().ok());
  EXPECT_EQ(ends, (std::vector<std::string>{"small.c", "big.c", "none.c", "empty.c"}));
  EXPECT_EQ(files["big.c"], big);
  EXPECT_EQ(files["small.c"], "s\n");
}

TEST_F(SourcesTest, PathsThatAreNoneAreRefused) {
  const std::string source = daemon_.Import(alice_, {{"a", "x"}});
  for (const std::string& path : {std::string(), std::string("a\nb"), std::string(5000, 'x')}) {
    v1::ReadSourceFilesRequest request;
    request.set_name(source);
    request.add_paths(path);
    grpc::ClientContext context;
    const auto reader = alice_.sources->ReadSourceFiles(&context, request);
    v1::SourceFileChunk chunk;
    EXPECT_FALSE(reader->Read(&chunk));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
}

TEST_F(SourcesTest, ListsArePagedNewestFirstAndShowOnlyTheCallers) {
  std::vector<std::string> names;
  for (const char* content : {"1", "2", "3"}) {
    names.push_back(daemon_.Import(alice_, {{"a", content}}));
  }
  daemon_.Import(bob_, {{"a", "bob's"}});
  std::vector<std::string> seen;
  v1::ListSourcesRequest request;
  request.set_page_size(2);
  do {
    grpc::ClientContext context;
    v1::ListSourcesResponse response;
    ASSERT_TRUE(alice_.sources->ListSources(&context, request, &response).ok());
    EXPECT_LE(response.sources_size(), 2);
    for (const auto& source : response.sources()) seen.push_back(source.name());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(seen, (std::vector<std::string>{names[2], names[1], names[0]}));
}

TEST_F(SourcesTest, DeletingIsIdempotentAndSaysNothingOfOthers) {
  const std::string source = daemon_.Import(alice_, {{"a", "x"}});
  v1::DeleteSourceRequest request;
  request.set_name(source);
  google::protobuf::Empty nothing;
  grpc::ClientContext by_bob;
  EXPECT_TRUE(bob_.sources->DeleteSource(&by_bob, request, &nothing).ok());
  EXPECT_EQ(Watch(alice_, source).back().state(), v1::Source::READY);
  for (int i = 0; i < 2; ++i) {
    grpc::ClientContext context;
    EXPECT_TRUE(alice_.sources->DeleteSource(&context, request, &nothing).ok());
  }
  grpc::ClientContext context;
  v1::GetSourceRequest get;
  get.set_name(source);
  v1::Source gone;
  EXPECT_EQ(alice_.sources->GetSource(&context, get, &gone).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace kdbg
