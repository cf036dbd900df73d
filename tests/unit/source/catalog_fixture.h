// A source catalog over a real database and repository in a folder of the test's own.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "proto/support/sha256.h"
#include "server/source/object_database.h"
#include "server/source/source_catalog.h"
#include "server/source/upload_store.h"
#include "server/state/database.h"
#include "tests/support/fake_clock.h"
#include "tests/unit/source/temp_dir.h"

namespace kdbg::source {

class CatalogFixture : public TempDirTest {
 protected:
  CatalogFixture() {
    settings_.allowed_paths = {directory_ / "allowed"};
    std::filesystem::create_directory(directory_ / "allowed");
    std::filesystem::permissions(directory_, std::filesystem::perms(0711));
    Reopen();
  }
  void Close() {
    subscription_.Reset();
    catalog_.reset();
    uploads_.reset();
    objects_.reset();
    database_.reset();
  }
  void Reopen() {
    Close();
    std::vector<state::Migration> migrations(UploadStore::Migrations().begin(),
                                             UploadStore::Migrations().end());
    migrations.insert(migrations.end(), SourceCatalog::Migrations().begin(),
                      SourceCatalog::Migrations().end());
    database_ = *state::Database::Open(directory_ / "kdbg.db", migrations);
    objects_ = *ObjectDatabase::Open(directory_ / "objects.git");
    uploads_ = *UploadStore::Open(directory_ / "uploads", *database_, clock_, {});
    catalog_ = *SourceCatalog::Open(*database_, *objects_, *uploads_, clock_, settings_);
    subscription_ = catalog_->Subscribe([this](const SourceRecord& record) {
      absl::MutexLock lock(&mutex_);
      if (record.state != SourceState::kImporting) ended_.insert(record.id);
    });
  }
  std::string Upload(std::string_view bytes, std::string_view owner = "alice",
                     std::string_view sent = "all") {
    const auto upload =
        *uploads_->Create(owner, Sha256Hex(bytes), static_cast<std::int64_t>(bytes.size()));
    if (upload.complete) return upload.id;
    auto writer = *uploads_->OpenWriter(upload.id, upload.received_bytes);
    EXPECT_TRUE(writer.Write(sent == "all" ? bytes : bytes.substr(0, bytes.size() / 2)).ok());
    EXPECT_TRUE(writer.Finish().ok());
    return upload.id;
  }
  static SourceOrigin Tarball(std::string_view bytes, std::string upload = "") {
    SourceOrigin origin;
    origin.text = "linux.tar.xz";
    origin.sha256 = Sha256Hex(bytes);
    origin.upload = std::move(upload);
    return origin;
  }
  static SourceOrigin ServerPath(const std::filesystem::path& path) {
    SourceOrigin origin;
    origin.kind = OriginKind::kServerPath;
    origin.text = path;
    return origin;
  }
  absl::StatusOr<SourceRecord> Create(const SourceOrigin& origin, std::string_view owner = "alice",
                                      std::optional<uid_t> reader = std::nullopt,
                                      std::string_view request_id = {}) {
    SourceRequest request;
    request.owner = owner;
    request.origin = origin;
    request.reader = reader;
    request.request_id = request_id;
    return catalog_->Create(request);
  }
  // Until the import has ended.
  SourceRecord Finished(const std::string& id) {
    absl::MutexLock lock(&mutex_);
    waiting_for_ = id;
    mutex_.Await(absl::Condition(
        +[](CatalogFixture* self)
             ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->ended_.contains(self->waiting_for_); },
        this));
    return *catalog_->Get(id);
  }
  SourceRecord Import(std::string_view bytes, std::string_view owner = "alice") {
    const auto created = Create(Tarball(bytes, Upload(bytes, owner)), owner);
    EXPECT_TRUE(created.ok()) << created.status();
    return Finished(created->id);
  }

  FakeClock clock_;
  SourceSettings settings_;
  absl::Mutex mutex_;
  std::set<std::string> ended_ ABSL_GUARDED_BY(mutex_);
  std::string waiting_for_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<ObjectDatabase> objects_;
  std::unique_ptr<UploadStore> uploads_;
  std::unique_ptr<SourceCatalog> catalog_;
  Subscription subscription_;
};

}  // namespace kdbg::source
