// How a session comes by its guest: as a clone of a template where there is one, else cold.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/guest/guest.h"
#include "server/session/admission.h"
#include "server/session/session_record.h"
#include "server/session/template_pool.h"

namespace kdbg::session {

struct MadeGuest {
  std::shared_ptr<guest::Guest> guest;  // halted
  Origin origin = Origin::kCold;        // cold: at reset; else at its stop point
  std::string stopped_at;               // there
  std::string template_key;
  TemplatePool::CloneMark mark;
};

// A clone of a template. Errors as Template::Image and Guest::Clone.
absl::StatusOr<MadeGuest> CloneOf(const TemplatePool::Found& found, const guest::GuestSpec& spec,
                                  const guest::GuestHost& host,
                                  const guest::GuestListener& listener);

// From its saved state, if it has one. Else, with `templates`, as a clone; a template that gives
// none is rejected, and the guest begins cold. Errors as Guest::Create and Guest::Clone.
absl::StatusOr<MadeGuest> MakeGuest(TemplatePool* templates, const Admitted& admitted,
                                    const guest::GuestHost& host,
                                    const guest::GuestListener& listener);

}  // namespace kdbg::session
