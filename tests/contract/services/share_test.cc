// Private builds and the colleagues they are shared with, over the wire.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "tests/contract/kit/test_daemon.h"

namespace kdbg {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ShareBuildTest : public testing::Test {
 protected:
  absl::StatusOr<v1::Build> Share(Client& client, const std::string& build, const std::string& user,
                                  bool take_back = false) {
    grpc::ClientContext context;
    v1::ShareBuildRequest request;
    request.set_name("builds/" + build);
    request.set_user(user);
    request.set_take_back(take_back);
    v1::Build shared;
    const grpc::Status status = client.builds->ShareBuild(&context, request, &shared);
    if (!status.ok()) return FromGrpcStatus(status);
    return shared;
  }
  absl::StatusCode SeesBuild(Client& client) {
    grpc::ClientContext context;
    v1::GetBuildRequest request;
    request.set_name("builds/" + seeded_.build_id);
    v1::Build build;
    return FromGrpcStatus(client.builds->GetBuild(&context, request, &build)).code();
  }
  absl::StatusCode SeesArtifact(Client& client) {
    grpc::ClientContext context;
    v1::GetArtifactRequest request;
    request.set_name("artifacts/" + seeded_.artifact_id);
    v1::Artifact artifact;
    return FromGrpcStatus(client.artifacts->GetArtifact(&context, request, &artifact)).code();
  }
  std::vector<std::string> Listed(Client& client) {
    std::vector<std::string> names;
    {
      grpc::ClientContext context;
      v1::ListBuildsRequest request;
      request.set_all_owners(true);
      v1::ListBuildsResponse response;
      EXPECT_TRUE(client.builds->ListBuilds(&context, request, &response).ok());
      for (const v1::Build& build : response.builds()) names.push_back(build.name());
    }
    grpc::ClientContext context;
    v1::ListArtifactsRequest request;
    request.set_all_owners(true);
    v1::ListArtifactsResponse response;
    EXPECT_TRUE(client.artifacts->ListArtifacts(&context, request, &response).ok());
    for (const v1::Artifact& artifact : response.artifacts()) names.push_back(artifact.name());
    return names;
  }

  TestDaemon daemon_;
  const SeededBuild seeded_ = daemon_.SeedKernel("alice", /*is_private=*/true);
  Client alice_ = daemon_.As(kAlice);
  Client bob_ = daemon_.As(kBob);
  Client vera_ = daemon_.As(kVera);
};

TEST_F(ShareBuildTest, AListNamesNoFilesAndTakesNoBuildIdThatIsNone) {
  const auto list = [&](const std::string& build_id, v1::ListArtifactsResponse& response) {
    grpc::ClientContext context;
    v1::ListArtifactsRequest request;
    request.set_build_id(build_id);
    return FromGrpcStatus(alice_.artifacts->ListArtifacts(&context, request, &response));
  };
  v1::ListArtifactsResponse all, none;
  ASSERT_TRUE(list("", all).ok());
  ASSERT_EQ(all.artifacts_size(), 1);
  EXPECT_TRUE(all.artifacts(0).files().empty());
  EXPECT_GT(all.artifacts(0).size_bytes(), 0);
  ASSERT_TRUE(list("00ddba11", none).ok());
  EXPECT_TRUE(none.artifacts().empty());
  EXPECT_EQ(list("vmlinux'", none).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ShareBuildTest, WhoIsNamedSeesItAndWhatItMadeUntilItIsTakenBack) {
  EXPECT_EQ(SeesBuild(bob_), absl::StatusCode::kNotFound);
  const auto shared = Share(alice_, seeded_.build_id, "bob");
  ASSERT_TRUE(shared.ok()) << shared.status();
  EXPECT_THAT(shared->readers(), ElementsAre("bob"));
  EXPECT_EQ(SeesBuild(bob_), absl::StatusCode::kOk);
  EXPECT_EQ(SeesArtifact(bob_), absl::StatusCode::kOk);
  EXPECT_THAT(Listed(bob_),
              ElementsAre("builds/" + seeded_.build_id, "artifacts/" + seeded_.artifact_id));
  EXPECT_EQ(SeesBuild(vera_), absl::StatusCode::kNotFound);
  EXPECT_EQ(SeesArtifact(vera_), absl::StatusCode::kNotFound);
  EXPECT_THAT(Listed(vera_), IsEmpty());
  ASSERT_TRUE(Share(alice_, seeded_.build_id, "bob", /*take_back=*/true).ok());
  EXPECT_EQ(SeesBuild(bob_), absl::StatusCode::kNotFound);
  EXPECT_EQ(SeesArtifact(bob_), absl::StatusCode::kNotFound);
  EXPECT_THAT(Listed(bob_), IsEmpty());
}

TEST_F(ShareBuildTest, ADeletedBuildLeavesNobodyItsArtifact) {
  ASSERT_TRUE(Share(alice_, seeded_.build_id, "bob").ok());
  grpc::ClientContext context;
  v1::DeleteBuildRequest request;
  request.set_name("builds/" + seeded_.build_id);
  google::protobuf::Empty nothing;
  ASSERT_TRUE(alice_.builds->DeleteBuild(&context, request, &nothing).ok());
  EXPECT_EQ(SeesArtifact(alice_), absl::StatusCode::kOk);
  EXPECT_EQ(SeesArtifact(bob_), absl::StatusCode::kNotFound);
}

TEST_F(ShareBuildTest, AReaderCannotShareItFurtherOrDeleteIt) {
  ASSERT_TRUE(Share(alice_, seeded_.build_id, "bob").ok());
  EXPECT_EQ(Share(bob_, seeded_.build_id, "vera").status().code(),
            absl::StatusCode::kPermissionDenied);
  grpc::ClientContext context;
  v1::DeleteBuildRequest request;
  request.set_name("builds/" + seeded_.build_id);
  google::protobuf::Empty nothing;
  EXPECT_EQ(bob_.builds->DeleteBuild(&context, request, &nothing).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(ShareBuildTest, OnlyWithSomebodyElseOfThisHostAndOnlyWhatIsPrivate) {
  EXPECT_EQ(Share(alice_, seeded_.build_id, "nobody-here").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Share(alice_, seeded_.build_id, "alice").status().code(),
            absl::StatusCode::kInvalidArgument);
  const SeededBuild open = daemon_.SeedKernel("alice");
  EXPECT_EQ(Share(alice_, open.build_id, "bob").status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(ShareBuildTest, ReadersMayBeNamedWithTheRequest) {
  v1::CreateBuildRequest request;
  request.mutable_build()->set_source(
      daemon_.Import(alice_, {{"Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n"},
                              {"Kconfig", ""},
                              {"kernel/fork.c", ""},
                              {"init/main.c", ""}}));
  request.mutable_build()->mutable_kernel();
  request.mutable_build()->add_readers("bob");
  v1::Build build;
  {
    grpc::ClientContext context;
    EXPECT_EQ(alice_.builds->CreateBuild(&context, request, &build).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  request.mutable_build()->set_private_(true);
  grpc::ClientContext context;
  const grpc::Status created = alice_.builds->CreateBuild(&context, request, &build);
  ASSERT_TRUE(created.ok()) << created.error_message();
  EXPECT_THAT(build.readers(), ElementsAre("bob"));
  EXPECT_THAT(Listed(bob_), ElementsAre(build.name()));
}

}  // namespace
}  // namespace kdbg
