// Builds and artifacts over the wire.
#include <gtest/gtest.h>
#include <zstd.h>

#include <fstream>
#include <random>
#include <set>
#include <string>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/contract/status_codec.h"
#include "proto/support/sha256.h"
#include "tests/contract/kit/test_daemon.h"

namespace kdbg {
namespace {

class BuildsTest : public testing::Test {
 protected:
  absl::StatusOr<v1::Build> Create(Client& client, const v1::CreateBuildRequest& request) {
    grpc::ClientContext context;
    v1::Build build;
    const grpc::Status status = client.builds->CreateBuild(&context, request, &build);
    if (!status.ok()) return FromGrpcStatus(status);
    return build;
  }

  absl::StatusOr<v1::Build> Get(Client& client, const std::string& name) {
    grpc::ClientContext context;
    v1::GetBuildRequest request;
    request.set_name(name);
    v1::Build build;
    const grpc::Status status = client.builds->GetBuild(&context, request, &build);
    if (!status.ok()) return FromGrpcStatus(status);
    return build;
  }

  std::set<std::string> List(Client& client, bool all_owners) {
    grpc::ClientContext context;
    v1::ListBuildsRequest request;
    request.set_all_owners(all_owners);
    v1::ListBuildsResponse response;
    EXPECT_TRUE(client.builds->ListBuilds(&context, request, &response).ok());
    std::set<std::string> names;
    for (const auto& build : response.builds()) names.insert(build.name());
    return names;
  }

  TestDaemon daemon_;
  Client alice_ = daemon_.As(kAlice);
  Client bob_ = daemon_.As(kBob);
  Client admin_ = daemon_.As(kAdmin);
};

TEST_F(BuildsTest, AMalformedRequestNamesItsField) {
  struct Case {
    const char* field;
    std::function<void(v1::Build*)> spoil;
  };
  const Case cases[] = {
      {"build.source", [](v1::Build* build) { build->clear_source(); }},
      {"build.source", [](v1::Build* build) { build->set_source("builds/x"); }},
      {"build.spec", [](v1::Build* build) { build->clear_spec(); }},
      {"build.display_name", [](v1::Build* build) { build->set_display_name("Upper Case"); }},
      {"build.workspace", [](v1::Build* build) { build->set_workspace("../up"); }},
      {"build.workspace", [](v1::Build* build) { build->set_workspace(std::string(64, 'a')); }},
      {"build.display_name",
       [](v1::Build* build) { build->set_display_name(std::string(64, 'a')); }},
      {"build.kernel.architecture",
       [](v1::Build* build) {
         build->mutable_kernel()->set_architecture(static_cast<v1::Architecture>(99));
       }},
      {"build.kernel.base_config_text",
       [](v1::Build* build) {
         build->mutable_kernel()->set_base_config_text(std::string((1 << 20) + 1, 'x'));
       }},
      {"build.kernel.fragments.name",
       [](v1::Build* build) { build->mutable_kernel()->add_fragments()->set_text("x"); }},
      {"build.initramfs.init",
       [](v1::Build* build) {
         build->mutable_initramfs()->set_init(std::string((1 << 20) + 1, 'x'));
       }},
      {"build.initramfs.overlay_uploads",
       [](v1::Build* build) { build->mutable_initramfs()->add_overlay_uploads("../x"); }},
      {"build.initramfs.compression",
       [](v1::Build* build) {
         build->mutable_initramfs()->set_compression(
             static_cast<v1::InitramfsSpec::Compression>(9));
       }},
      {"build.initramfs.fragments.name",
       [](v1::Build* build) { build->mutable_initramfs()->add_fragments()->set_text("x"); }},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.field);
    v1::CreateBuildRequest request;
    request.mutable_build()->set_source("sources/s-1");
    request.mutable_build()->mutable_kernel();
    one.spoil(request.mutable_build());
    const auto build = Create(alice_, request);
    EXPECT_EQ(build.status().code(), absl::StatusCode::kInvalidArgument);
    const auto detail = GetErrorDetail(build.status());
    ASSERT_TRUE(detail);
    EXPECT_EQ(detail->reason, "FIELD_INVALID");
    EXPECT_EQ(detail->metadata.at("field"), one.field);
  }
}

TEST_F(BuildsTest, WhatGoesIntoAnInitramfsIsCheckedBeforeItIsQueued) {
  v1::CreateBuildRequest request;
  request.mutable_build()->set_source(
      daemon_.Import(alice_, {{"Makefile", "VERSION = 1\nPATCHLEVEL = 35\nSUBLEVEL = 0\n"},
                              {"Config.in", ""},
                              {"include/applets.src.h", ""}}));
  v1::InitramfsSpec& spec = *request.mutable_build()->mutable_initramfs();

  v1::CreateUploadRequest announced;
  announced.set_sha256(std::string(64, 'a'));
  announced.set_size_bytes(100);
  grpc::ClientContext context;
  v1::Upload upload;
  ASSERT_TRUE(alice_.sources->CreateUpload(&context, announced, &upload).ok());
  spec.add_overlay_uploads(upload.name());
  auto refused = Create(alice_, request);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << refused.status();
  EXPECT_TRUE(HasReason(refused.status(), Reason::kUploadIncomplete)) << refused.status();
  EXPECT_EQ(Create(bob_, request).status().code(), absl::StatusCode::kNotFound);
  spec.clear_overlay_uploads();

  spec.set_modules_build("builds/" + daemon_.SeedKernel("alice").build_id);
  refused = Create(alice_, request);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << refused.status();
  EXPECT_NE(refused.status().message().find("CONFIG_MODULES=y"), std::string_view::npos);
  spec.set_modules_build("builds/" + daemon_.SeedInitramfs("alice").build_id);
  EXPECT_EQ(Create(alice_, request).status().code(), absl::StatusCode::kInvalidArgument);
  spec.set_modules_build("builds/none");
  EXPECT_EQ(Create(alice_, request).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BuildsTest, ASourceThatIsNotThereIsNotFound) {
  v1::CreateBuildRequest request;
  request.mutable_build()->set_source("sources/none");
  request.mutable_build()->mutable_kernel();
  EXPECT_EQ(Create(alice_, request).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BuildsTest, AMissingBuildIsNotFoundByIdAndByName) {
  for (const char* name : {"builds/none", "none"}) {
    const auto build = Get(alice_, name);
    EXPECT_EQ(build.status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(GetErrorDetail(build.status())->metadata.at("resource"), "builds/none");
  }
}

TEST_F(BuildsTest, ANameIsTheCallersOwnNewestBuildOfThatName) {
  const SeededBuild older = daemon_.SeedKernel("alice");
  const SeededBuild newer = daemon_.SeedKernel("alice");
  daemon_.SeedKernel("bob");
  EXPECT_EQ(Get(alice_, "builds/kernel")->name(), "builds/" + newer.build_id);
  EXPECT_EQ(Get(bob_, older.build_id)->owner(), "alice");
}

TEST_F(BuildsTest, PrivateBuildsAreInNobodyElsesListsButAnAdmins) {
  const std::string open = "builds/" + daemon_.SeedKernel("alice").build_id;
  const std::string hidden = "builds/" + daemon_.SeedKernel("alice", true).build_id;
  const std::string bobs = "builds/" + daemon_.SeedKernel("bob").build_id;
  EXPECT_EQ(List(alice_, false), (std::set<std::string>{open, hidden}));
  EXPECT_EQ(List(bob_, false), (std::set<std::string>{bobs}));
  EXPECT_EQ(List(bob_, true), (std::set<std::string>{open, bobs}));
  EXPECT_EQ(List(admin_, true), (std::set<std::string>{open, hidden, bobs}));
}

TEST_F(BuildsTest, OthersSharedBuildsCanBeReadButNotCancelledOrDeleted) {
  const SeededBuild seeded = daemon_.SeedKernel("alice");
  EXPECT_TRUE(Get(bob_, seeded.build_id).ok());
  v1::DeleteBuildRequest request;
  request.set_name(seeded.build_id);
  google::protobuf::Empty nothing;
  grpc::ClientContext context;
  const absl::Status status = FromGrpcStatus(bob_.builds->DeleteBuild(&context, request, &nothing));
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_NE(std::string(status.message()).find("ask alice"), std::string::npos);
}

TEST_F(BuildsTest, WatchingABuildThatHasEndedIsOneMessageAndTheEnd) {
  const SeededBuild seeded = daemon_.SeedKernel("alice");
  grpc::ClientContext context;
  v1::GetBuildRequest request;
  request.set_name(seeded.build_id);
  const auto reader = alice_.builds->WatchBuild(&context, request);
  v1::Build build;
  ASSERT_TRUE(reader->Read(&build));
  EXPECT_EQ(build.state(), v1::Build::SUCCEEDED);
  EXPECT_FALSE(reader->Read(&build));
  EXPECT_TRUE(reader->Finish().ok());
}

class ArtifactsTest : public BuildsTest {
 protected:
  // The whole of what the call sends.
  absl::StatusOr<std::string> Read(Client& client, const std::string& artifact,
                                   const std::string& path, std::int64_t offset = 0,
                                   std::int64_t limit = 0) {
    v1::ReadArtifactFileRequest request;
    request.set_name(artifact);
    request.set_path(path);
    request.set_offset_bytes(offset);
    request.set_limit_bytes(limit);
    grpc::ClientContext context;
    const auto reader = client.artifacts->ReadArtifactFile(&context, request);
    std::string bytes;
    v1::ArtifactFileChunk chunk;
    while (reader->Read(&chunk)) {
      EXPECT_EQ(chunk.offset_bytes(), offset + static_cast<std::int64_t>(bytes.size()));
      EXPECT_LE(chunk.data().size(), std::size_t{256} << 10);
      bytes += chunk.data();
    }
    const grpc::Status status = reader->Finish();
    if (!status.ok()) return FromGrpcStatus(status);
    return bytes;
  }

  v1::Artifact GetArtifact(Client& client, const std::string& name) {
    grpc::ClientContext context;
    v1::GetArtifactRequest request;
    request.set_name(name);
    v1::Artifact artifact;
    EXPECT_TRUE(client.artifacts->GetArtifact(&context, request, &artifact).ok());
    return artifact;
  }

  const SeededBuild seeded_ = daemon_.SeedKernel("alice");
};

TEST_F(ArtifactsTest, AFileIsReadWholeOrInPart) {
  const std::string& id = seeded_.artifact_id;
  EXPECT_EQ(*Read(bob_, id, "vmlinux"), std::string(600'000, 'v'));
  EXPECT_EQ(*Read(bob_, id, "System.map", 8), "81000000 T start_kernel\n");
  EXPECT_EQ(*Read(bob_, id, "System.map", 8, 8), "81000000");
  EXPECT_EQ(*Read(bob_, id, "vmlinux", 600'000), "");
  EXPECT_TRUE(HasReason(Read(bob_, id, "vmlinux", 600'001).status(), Reason::kOffsetOutOfRange));
  EXPECT_EQ(Read(bob_, id, "vmlinux", 0, -1).status().code(), absl::StatusCode::kInvalidArgument);
}

class CompressedTest : public ArtifactsTest {
 protected:
  CompressedTest() {
    // Text that does not compress much by itself.
    std::mt19937 random(1);
    for (int i = 0; i < 500'000; ++i) before_ += static_cast<char>(random() % 64 + 32);
    after_ = before_.substr(0, 200'000) + "an edit" + before_.substr(200'000);
  }
  struct Received {
    std::string frame;
    std::string base_sha256;
  };
  Received Fetch(Client& client, const SeededBuild& kernel, const std::string& base,
                 std::int64_t offset = 0) {
    v1::ReadArtifactFileRequest request;
    request.set_name(kernel.artifact_id);
    request.set_path("vmlinux");
    request.set_zstd(true);
    request.set_base_sha256(base);
    request.set_offset_bytes(offset);
    grpc::ClientContext context;
    const auto reader = client.artifacts->ReadArtifactFile(&context, request);
    Received received;
    v1::ArtifactFileChunk chunk;
    for (bool first = true; reader->Read(&chunk); first = false) {
      EXPECT_EQ(chunk.zstd(), first);
      if (first) received.base_sha256 = chunk.base_sha256();
      received.frame += chunk.data();
    }
    EXPECT_TRUE(reader->Finish().ok());
    return received;
  }
  std::string Plain(const Received& received, const std::string& base = "") {
    std::string plain(after_.size() + 1000, 0);
    ZSTD_DCtx* context = ::ZSTD_createDCtx();
    ::ZSTD_DCtx_refPrefix(context, base.data(), base.size());
    const std::size_t size = ::ZSTD_decompressDCtx(context, plain.data(), plain.size(),
                                                   received.frame.data(), received.frame.size());
    ::ZSTD_freeDCtx(context);
    if (::ZSTD_isError(size) != 0) return ::ZSTD_getErrorName(size);
    plain.resize(size);
    return plain;
  }

  std::string before_;
  std::string after_;
};

TEST_F(CompressedTest, AFileComesAsOneFrameFromAnywhere) {
  const SeededBuild kernel = daemon_.SeedKernel("alice", false, after_);
  EXPECT_EQ(Plain(Fetch(bob_, kernel, "")), after_);
  EXPECT_EQ(Plain(Fetch(bob_, kernel, "", 300'000)), after_.substr(300'000));
  EXPECT_EQ(Plain(Fetch(bob_, kernel, "", static_cast<std::int64_t>(after_.size()))), "");
}

TEST_F(CompressedTest, OverTheFileBeforeAnEditItIsAFraction) {
  daemon_.SeedKernel("alice", false, before_);
  const SeededBuild kernel = daemon_.SeedKernel("alice", false, after_);
  const Received received = Fetch(alice_, kernel, Sha256Hex(before_));
  EXPECT_EQ(received.base_sha256, Sha256Hex(before_));
  EXPECT_EQ(Plain(received, before_), after_);
  EXPECT_LT(received.frame.size(), after_.size() / 100);
  const Received rest = Fetch(alice_, kernel, Sha256Hex(before_), 100'000);
  EXPECT_EQ(Plain(rest, before_), after_.substr(100'000));
}

TEST_F(CompressedTest, ABaseThatIsNotTheirsToReadIsPassedOver) {
  daemon_.SeedKernel("alice", true, before_);
  const SeededBuild kernel = daemon_.SeedKernel("alice", false, after_);
  for (const std::string& digest : {Sha256Hex(before_), std::string(64, '0'), std::string("x")}) {
    const Received received = Fetch(bob_, kernel, digest);
    EXPECT_EQ(received.base_sha256, "");
    EXPECT_EQ(Plain(received), after_);
  }
}

TEST_F(ArtifactsTest, AMissingFileIsNotFoundWithTheListOfThoseThereAre) {
  const absl::Status status = Read(alice_, seeded_.artifact_id, "../etc/passwd").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(status.message()).find("System.map"), std::string::npos);
}

TEST_F(ArtifactsTest, BytesThatWereDamagedOnDiskAreDataLoss) {
  const v1::Artifact artifact = GetArtifact(alice_, seeded_.artifact_id);
  for (const auto& file : artifact.files()) {
    if (file.path() != "vmlinux") continue;
    std::filesystem::permissions(file.server_path(), std::filesystem::perms(0644));
    std::fstream damaged(file.server_path(), std::ios::in | std::ios::out);
    damaged.seekp(1000);
    damaged << "!";
  }
  const absl::Status status = Read(alice_, seeded_.artifact_id, "vmlinux").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(HasReason(status, Reason::kDataCorrupt));
}

TEST_F(ArtifactsTest, OnTheServersOwnHostTheBytesCanBeReadInPlace) {
  const v1::Artifact artifact = GetArtifact(bob_, seeded_.artifact_id);
  EXPECT_EQ(artifact.build(), "builds/" + seeded_.build_id);
  EXPECT_EQ(artifact.size_bytes(), 600'000 + 32 + 17);
  for (const auto& file : artifact.files()) {
    EXPECT_EQ(std::filesystem::file_size(file.server_path()),
              static_cast<std::uintmax_t>(file.size_bytes()));
  }
}

TEST_F(ArtifactsTest, EverybodyPrunesTheirOwnAndAdminsAll) {
  const auto prune = [](Client& client, bool all) -> absl::StatusOr<v1::PruneArtifactsResponse> {
    grpc::ClientContext context;
    v1::PruneArtifactsRequest request;
    request.set_dry_run(true);
    request.set_all_owners(all);
    request.mutable_unused_for()->set_nanos(1);
    v1::PruneArtifactsResponse response;
    const grpc::Status status = client.artifacts->PruneArtifacts(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  };
  const auto own = prune(alice_, false);
  ASSERT_TRUE(own.ok()) << own.status();
  ASSERT_EQ(own->removals_size(), 1);
  EXPECT_EQ(own->removals(0).artifact().name(), ResourceName(kArtifacts, seeded_.artifact_id));
  EXPECT_EQ(own->removals(0).cause(), v1::PruneArtifactsResponse::Removal::UNUSED);
  EXPECT_GT(own->freed_bytes(), 0);
  EXPECT_EQ(prune(bob_, false)->removals_size(), 0);
  const absl::Status refused = prune(bob_, true).status();
  EXPECT_TRUE(HasReason(refused, Reason::kPermissionDenied)) << refused;
}

TEST_F(ArtifactsTest, APinKeepsAnArtifactUntilItIsTakenBack) {
  grpc::ClientContext pin_context;
  v1::PinArtifactRequest pin;
  pin.set_name(seeded_.artifact_id);
  v1::Artifact artifact;
  ASSERT_TRUE(bob_.artifacts->PinArtifact(&pin_context, pin, &artifact).ok());
  ASSERT_EQ(artifact.pins_size(), 1);
  EXPECT_EQ(artifact.pins(0), "user bob");
  v1::DeleteArtifactRequest remove;
  remove.set_name(seeded_.artifact_id);
  google::protobuf::Empty nothing;
  {
    grpc::ClientContext context;
    const absl::Status held =
        FromGrpcStatus(alice_.artifacts->DeleteArtifact(&context, remove, &nothing));
    EXPECT_EQ(held.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(std::string(held.message()).find("bob"), std::string::npos);
  }
  grpc::ClientContext unpin_context;
  v1::UnpinArtifactRequest unpin;
  unpin.set_name(seeded_.artifact_id);
  ASSERT_TRUE(bob_.artifacts->UnpinArtifact(&unpin_context, unpin, &artifact).ok());
  EXPECT_EQ(artifact.pins_size(), 0);
  for (int i = 0; i < 2; ++i) {
    grpc::ClientContext context;
    EXPECT_TRUE(alice_.artifacts->DeleteArtifact(&context, remove, &nothing).ok());
  }
}

}  // namespace
}  // namespace kdbg
