// The records of the modules below as what access/ decides about.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/access/check.h"
#include "server/access/grants.h"
#include "server/build/build_record.h"
#include "server/session/session_record.h"
#include "server/source/source_catalog.h"
#include "server/source/upload_store.h"
#include "server/store/artifact_store.h"

namespace kdbg::service {

access::Resource ResourceOf(const source::Upload& upload);
access::Resource ResourceOf(const source::SourceRecord& record);
access::Resource ResourceOf(const build::BuildRecord& record);
access::Resource ResourceOf(const store::Artifact& artifact);
// As `user` meets it, since sessions are shared one by one.
access::Resource ResourceOf(const session::SessionRecord& record, std::string_view user);

// Ids of what this user was granted of a collection.
std::vector<std::string> GrantedIds(const access::Grants& grants, std::string_view user,
                                    std::string_view collection);

}  // namespace kdbg::service
