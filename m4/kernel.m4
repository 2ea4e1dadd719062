# LUAMP_REQUIRE(what, prologue, body)
# -----------------------------------
# Stops with a clear message where the system has not got what luamp cannot do without.
AC_DEFUN([LUAMP_REQUIRE], [
AC_MSG_CHECKING([for $1])
AC_LINK_IFELSE([AC_LANG_PROGRAM([[$2]], [[$3]])],
  [AC_MSG_RESULT([yes])],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([luamp needs $1, which this system's headers or C library lack; see config.log])])
])

# LUAMP_OFFER(what, macro, prologue, body)
# ----------------------------------------
# Defines the macro where the system has it.
AC_DEFUN([LUAMP_OFFER], [
AC_MSG_CHECKING([for $1])
AC_LINK_IFELSE([AC_LANG_PROGRAM([[$3]], [[$4]])],
  [AC_MSG_RESULT([yes])
   AC_DEFINE([$2], [1], [The headers know $1; the running kernel may still lack it.])],
  [AC_MSG_RESULT([no])])
])

# LUAMP_CHECK_KERNEL_INTERFACES
# -----------------------------
# These checks compile and link. Whether the running kernel does what it should, the program finds
# out for itself when it starts.
AC_DEFUN([LUAMP_CHECK_KERNEL_INTERFACES], [
luamp_kernel_saved_CPPFLAGS=$CPPFLAGS
CPPFLAGS="$CPPFLAGS -D_GNU_SOURCE"

LUAMP_REQUIRE([C11 atomics without locks],
  [#include <stdatomic.h>
#include <stdint.h>
#if ATOMIC_INT_LOCK_FREE != 2 || ATOMIC_LLONG_LOCK_FREE != 2
#error atomics take locks
#endif],
  [static _Atomic uint64_t word;
atomic_fetch_add(&word, 1);])

LUAMP_REQUIRE([futexes],
  [#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>],
  [int word = 0;
struct robust_list_head head = {0};
return (int)syscall(SYS_futex, &word, FUTEX_WAKE_OP, 1, 1, &word,
    FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GE, 0)) + (FUTEX_OWNER_DIED != 0)
    + (head.list_op_pending != 0);])

LUAMP_REQUIRE([memfd_create],
  [#include <sys/mman.h>],
  [return memfd_create("name", MFD_CLOEXEC);])

LUAMP_REQUIRE([robust mutexes shared between processes],
  [#include <pthread.h>],
  [pthread_mutexattr_t attributes;
pthread_mutexattr_init(&attributes);
pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
return pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);])

LUAMP_OFFER([futex_waitv], [HAVE_FUTEX_WAITV],
  [#include <linux/futex.h>
#include <sys/syscall.h>],
  [struct futex_waitv waiter = {0};
return __NR_futex_waitv + (int)waiter.flags;])

LUAMP_OFFER([pidfd_open], [HAVE_PIDFD_OPEN],
  [#include <sys/syscall.h>],
  [return __NR_pidfd_open + __NR_pidfd_send_signal;])

CPPFLAGS=$luamp_kernel_saved_CPPFLAGS
])
