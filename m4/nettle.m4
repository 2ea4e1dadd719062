# LUAMP_CHECK_NETTLE
# ------------------
# Finds nettle, whose HMAC proves the keys of connections by sockets. It is loaded when a key is
# first used, by the name that the linker would have noted: linked, it would cost every start of
# the program a good part of its time. Sets NETTLE_CFLAGS, and defines NETTLE_SONAME.
AC_DEFUN([LUAMP_CHECK_NETTLE], [
PKG_CHECK_MODULES([NETTLE], [nettle >= 3.4 nettle < 4], [],
  [AC_MSG_ERROR([pkg-config finds no nettle 3 (on Debian: apt install nettle-dev)])])
AC_CHECK_TOOL([OBJDUMP], [objdump])
AC_MSG_CHECKING([for the name of nettle's shared library])
luamp_saved_LIBS=$LIBS
LIBS="$NETTLE_LIBS $LIBS"
luamp_soname=
AC_LINK_IFELSE(
  [AC_LANG_PROGRAM([[void nettle_hmac_sha256_digest(void);]], [[nettle_hmac_sha256_digest();]])],
  [luamp_soname=`$OBJDUMP -p conftest$EXEEXT | sed -n 's/^ *NEEDED *\(libnettle\..*\)$/\1/p'`])
LIBS=$luamp_saved_LIBS
AS_IF([test -n "$luamp_soname"], [AC_MSG_RESULT([$luamp_soname])],
  [AC_MSG_RESULT([unknown])
   AC_MSG_ERROR([a program cannot be linked with nettle, or $OBJDUMP does not tell with what])])
AC_DEFINE_UNQUOTED([NETTLE_SONAME], ["$luamp_soname"], [The file name of nettle's shared library.])
])
