# LUAMP_SANITIZERS
# ----------------
# --enable-sanitizers=address,undefined compiles everything with the compiler's sanitizers; so does
# --enable-sanitizers=thread. Sets SANITIZE_FLAGS, for compiling and for linking.
AC_DEFUN([LUAMP_SANITIZERS], [
AC_ARG_ENABLE([sanitizers],
  [AS_HELP_STRING([--enable-sanitizers=LIST],
    [compile with -fsanitize=LIST @<:@address,undefined where no LIST is given@:>@])],
  [], [enable_sanitizers=no])
AS_CASE([$enable_sanitizers], [yes], [enable_sanitizers=address,undefined])
SANITIZE_FLAGS=
AS_CASE([$enable_sanitizers], [no], [],
  [SANITIZE_FLAGS="-fsanitize=$enable_sanitizers -fno-omit-frame-pointer"
   dnl The thread sanitizer does not follow fences. Where the core has one, it has told it so in
   dnl another way; see src/core/futex.c.
   AS_CASE([$enable_sanitizers], [*thread*], [SANITIZE_FLAGS="$SANITIZE_FLAGS -Wno-tsan"])
   AS_CASE([$enable_sanitizers], [*undefined*],
     [SANITIZE_FLAGS="$SANITIZE_FLAGS -fno-sanitize-recover=undefined"])
   AC_MSG_CHECKING([whether $CC links with $SANITIZE_FLAGS])
   luamp_saved_CFLAGS=$CFLAGS
   CFLAGS="$CFLAGS $SANITIZE_FLAGS"
   AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [AC_MSG_RESULT([yes])],
     [AC_MSG_RESULT([no])
      AC_MSG_ERROR([the compiler has no sanitizer '$enable_sanitizers'])])
   CFLAGS=$luamp_saved_CFLAGS])
AC_SUBST([SANITIZE_FLAGS])
])
