// ThreadSanitizer's view of Abseil's locks. Debian's Abseil is compiled without the annotations
// that its headers expect of it, so every lock would look as if it ordered nothing. The functions
// here stand in front of those of the shared library, for it and for gRPC too, and say what they
// do.
//
// Only in TSan builds, as an object file of each test program: an archive would not be searched.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>
#include <type_traits>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

namespace {

// A member function in the library, by its mangled name; called with the object first, as the ABI
// has it.
template <typename Function>
Function* InLibrary(const char* name) {
  void* found = ::dlsym(RTLD_NEXT, name);
  if (found == nullptr) {
    std::fprintf(stderr, "tests/tsan: Abseil has no %s: another version?\n", name);
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}

// Abseil's functions call each other: the outermost speaks for all.
thread_local int depth = 0;
struct Nested {
  Nested() { ++depth; }
  ~Nested() { --depth; }
};

enum class Mode : unsigned { kExclusive = 0, kShared = __tsan_mutex_read_lock };

void BeforeLock(void* mutex, Mode mode, unsigned flags = 0) {
  if (depth == 0) __tsan_mutex_pre_lock(mutex, static_cast<unsigned>(mode) | flags);
}
void AfterLock(void* mutex, Mode mode, unsigned flags = 0) {
  if (depth == 0) __tsan_mutex_post_lock(mutex, static_cast<unsigned>(mode) | flags, 0);
}
void BeforeUnlock(void* mutex, Mode mode) {
  if (depth == 0) __tsan_mutex_pre_unlock(mutex, static_cast<unsigned>(mode));
}
void AfterUnlock(void* mutex, Mode mode) {
  if (depth == 0) __tsan_mutex_post_unlock(mutex, static_cast<unsigned>(mode));
}

// Calls that take the lock. What they evaluate meanwhile, on behalf of whom they wake, is looked
// away from: that is what the pair before and after means.
template <typename Call>
auto Locking(void* mutex, Mode mode, Call call) {
  BeforeLock(mutex, mode);
  if constexpr (std::is_void_v<decltype(call())>) {
    {
      const Nested nested;
      call();
    }
    AfterLock(mutex, mode);
  } else {
    const auto result = [&] {
      const Nested nested;
      return call();
    }();
    AfterLock(mutex, mode);
    return result;
  }
}

template <typename Call>
bool TryLocking(void* mutex, Mode mode, Call call) {
  BeforeLock(mutex, mode, __tsan_mutex_try_lock);
  const bool locked = call();
  AfterLock(mutex, mode,
            __tsan_mutex_try_lock | (locked ? 0u : unsigned{__tsan_mutex_try_lock_failed}));
  return locked;
}

template <typename Call>
void Unlocking(void* mutex, Mode mode, Call call) {
  BeforeUnlock(mutex, mode);
  {
    const Nested nested;
    call();
  }
  AfterUnlock(mutex, mode);
}

// Calls that give the lock away for a while.
template <typename Call>
auto Waiting(void* mutex, Call call) {
  BeforeUnlock(mutex, Mode::kExclusive);
  AfterUnlock(mutex, Mode::kExclusive);
  return Locking(mutex, Mode::kExclusive, call);
}

}  // namespace

#define KDBG_REAL(name, ...) \
  static auto* const real = InLibrary<__VA_ARGS__>("_ZN4absl7debian3" name)
#define KDBG_REAL_CONST(name, ...) \
  static auto* const real = InLibrary<__VA_ARGS__>("_ZNK4absl7debian3" name)

namespace absl {
ABSL_NAMESPACE_BEGIN

Mutex::~Mutex() {
  KDBG_REAL("5MutexD1Ev", void(Mutex*));
  real(this);
  __tsan_mutex_destroy(this, __tsan_mutex_not_static);
}

void Mutex::Lock() {
  KDBG_REAL("5Mutex4LockEv", void(Mutex*));
  Locking(this, Mode::kExclusive, [this] { real(this); });
}

void Mutex::ReaderLock() {
  KDBG_REAL("5Mutex10ReaderLockEv", void(Mutex*));
  Locking(this, Mode::kShared, [this] { real(this); });
}

bool Mutex::TryLock() {
  KDBG_REAL("5Mutex7TryLockEv", bool(Mutex*));
  return TryLocking(this, Mode::kExclusive, [this] { return real(this); });
}

bool Mutex::ReaderTryLock() {
  KDBG_REAL("5Mutex13ReaderTryLockEv", bool(Mutex*));
  return TryLocking(this, Mode::kShared, [this] { return real(this); });
}

void Mutex::Unlock() {
  KDBG_REAL("5Mutex6UnlockEv", void(Mutex*));
  Unlocking(this, Mode::kExclusive, [this] { real(this); });
}

void Mutex::ReaderUnlock() {
  KDBG_REAL("5Mutex12ReaderUnlockEv", void(Mutex*));
  Unlocking(this, Mode::kShared, [this] { real(this); });
}

void Mutex::LockWhen(const Condition& condition) {
  KDBG_REAL("5Mutex8LockWhenERKNS0_9ConditionE", void(Mutex*, const Condition&));
  Locking(this, Mode::kExclusive, [&] { real(this, condition); });
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  KDBG_REAL("5Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE",
            bool(Mutex*, const Condition&, Time));
  return Locking(this, Mode::kExclusive, [&] { return real(this, condition, deadline); });
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  KDBG_REAL("5Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE",
            bool(Mutex*, const Condition&, Duration));
  return Locking(this, Mode::kExclusive, [&] { return real(this, condition, timeout); });
}

void Mutex::Await(const Condition& condition) {
  KDBG_REAL("5Mutex5AwaitERKNS0_9ConditionE", void(Mutex*, const Condition&));
  Waiting(this, [&] { real(this, condition); });
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  KDBG_REAL("5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE",
            bool(Mutex*, const Condition&, Time));
  return Waiting(this, [&] { return real(this, condition, deadline); });
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  KDBG_REAL("5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE",
            bool(Mutex*, const Condition&, Duration));
  return Waiting(this, [&] { return real(this, condition, timeout); });
}

void CondVar::Wait(Mutex* mutex) {
  KDBG_REAL("7CondVar4WaitEPNS0_5MutexE", void(CondVar*, Mutex*));
  Waiting(mutex, [&] { real(this, mutex); });
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  KDBG_REAL("7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE", bool(CondVar*, Mutex*, Time));
  return Waiting(mutex, [&] { return real(this, mutex, deadline); });
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  KDBG_REAL("7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE",
            bool(CondVar*, Mutex*, Duration));
  return Waiting(mutex, [&] { return real(this, mutex, timeout); });
}

// Who finds it notified looks at the flag alone; it lies behind the mutex.
static void* FlagOf(const Notification* notification) {
  return const_cast<char*>(reinterpret_cast<const char*>(notification)) + sizeof(Mutex);
}

void Notification::Notify() {
  KDBG_REAL("12Notification6NotifyEv", void(Notification*));
  __tsan_release(FlagOf(this));
  real(this);
}

void Notification::WaitForNotification() const {
  KDBG_REAL_CONST("12Notification19WaitForNotificationEv", void(const Notification*));
  real(this);
  __tsan_acquire(FlagOf(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  KDBG_REAL_CONST("12Notification30WaitForNotificationWithTimeoutENS0_8DurationE",
                  bool(const Notification*, Duration));
  const bool notified = real(this, timeout);
  if (notified) __tsan_acquire(FlagOf(this));
  return notified;
}

bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  KDBG_REAL_CONST("12Notification31WaitForNotificationWithDeadlineENS0_4TimeE",
                  bool(const Notification*, Time));
  const bool notified = real(this, deadline);
  if (notified) __tsan_acquire(FlagOf(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
