# LUAMP_CHECK_LUA
# ---------------
# Finds Lua 5.4: what the variables LUA_CFLAGS and LUA_LIBS say, where both are given, or else by
# pkg-config. (Who builds only the module for stock Lua needs no library: LUA_LIBS= is enough.) Sets
#   LUA_PACKAGE             the name that pkg-config knows it by; empty where the variables were given
#   LUA_VERSION             its version
#   LUA_CFLAGS, LUA_LIBS    to compile, and to link a library that brings Lua along
#   LUA_HOST_LIBS           to link the host: the static library where there is one, so that the
#                           program starts as fast as lua itself; --without-static-lua is for
#                           distributions, whose programs share the libraries
#   luaexecdir              where stock Lua looks for modules in C
AC_DEFUN([LUAMP_CHECK_LUA], [
AC_ARG_WITH([static-lua],
  [AS_HELP_STRING([--without-static-lua],
    [link the program with the shared library of Lua @<:@the static one, where it is there@:>@])],
  [], [with_static_lua=check])
PKG_PROG_PKG_CONFIG
AS_IF([test -z "$PKG_CONFIG"],
  [AC_MSG_ERROR([pkg-config is missing; on Debian: apt install pkg-config])])

AC_MSG_CHECKING([for Lua 5.4])
LUA_PACKAGE=
AS_IF([test -n "${LUA_CFLAGS+set}" && test -n "${LUA_LIBS+set}"],
  [luamp_saved_CPPFLAGS=$CPPFLAGS
   CPPFLAGS="$CPPFLAGS $LUA_CFLAGS"
   AC_COMPILE_IFELSE(
     [AC_LANG_PROGRAM([[#include <lua.h>
#if LUA_VERSION_NUM != 504
#error not Lua 5.4
#endif]], [])],
     [LUA_VERSION=5.4
      AC_MSG_RESULT([as LUA_CFLAGS and LUA_LIBS say])],
     [AC_MSG_RESULT([no])
      AC_MSG_ERROR([with LUA_CFLAGS='$LUA_CFLAGS' there is no lua.h of Lua 5.4; see config.log])])
   CPPFLAGS=$luamp_saved_CPPFLAGS],
  [LUAMP_FIND_LUA_PACKAGE])
LUAMP_FIND_STATIC_LUA

luaexecdir='${libdir}/lua/5.4'
AC_SUBST([LUA_PACKAGE])
AC_SUBST([LUA_VERSION])
AC_SUBST([LUA_HOST_LIBS])
AC_SUBST([luaexecdir])
])

# LUAMP_FIND_LUA_PACKAGE
# ----------------------
# The part that asks pkg-config.
AC_DEFUN([LUAMP_FIND_LUA_PACKAGE], [
luamp_other_lua=
for luamp_package in lua5.4 lua-5.4 lua54 lua; do
  AS_IF([$PKG_CONFIG --exists "$luamp_package >= 5.4 $luamp_package < 5.5"],
    [LUA_PACKAGE=$luamp_package; break],
    [$PKG_CONFIG --exists "$luamp_package"],
    [luamp_other_lua=`$PKG_CONFIG --modversion "$luamp_package"`])
done
AS_IF([test -n "$LUA_PACKAGE"], [],
  [test -n "$luamp_other_lua"],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([luamp needs Lua 5.4, and pkg-config finds Lua $luamp_other_lua only
    (on Debian: apt install liblua5.4-dev)])],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([pkg-config finds no Lua by the names lua5.4, lua-5.4, lua54 and lua
    (on Debian: apt install liblua5.4-dev)])])
LUA_VERSION=`$PKG_CONFIG --modversion "$LUA_PACKAGE"`
AC_MSG_RESULT([$LUA_VERSION, by the name of $LUA_PACKAGE])
PKG_CHECK_MODULES([LUA], [$LUA_PACKAGE])
])

# LUAMP_FIND_STATIC_LUA
# ---------------------
# The part that looks for liblua*.a.
AC_DEFUN([LUAMP_FIND_STATIC_LUA], [
# The static library lies where the compiler would look for the shared one. Its own dependencies are
# the ones that a static link needs.
AC_MSG_CHECKING([for the static library of Lua])
luamp_dirs=
luamp_archive=
for luamp_flag in $LUA_LIBS; do
  AS_IF([test "$with_static_lua" = no], [break])
  AS_CASE([$luamp_flag],
    [-L*], [luamp_dirs="$luamp_dirs $luamp_flag"],
    [-llua*],
    [luamp_name=lib`echo "$luamp_flag" | sed 's/^-l//'`.a
     for luamp_dir in `echo "$luamp_dirs" | sed 's/-L//g'`; do
       AS_IF([test -z "$luamp_archive" && test -f "$luamp_dir/$luamp_name"],
         [luamp_archive=$luamp_dir/$luamp_name])
     done
     AS_IF([test -z "$luamp_archive"],
       [luamp_archive=`$CC $CFLAGS -print-file-name="$luamp_name"`
        test -f "$luamp_archive" || luamp_archive=])])
done
LUA_HOST_LIBS=$LUA_LIBS
AS_IF([test -n "$luamp_archive"],
  [luamp_rest=
   luamp_all=$LUA_LIBS
   AS_IF([test -n "$LUA_PACKAGE"], [luamp_all=`$PKG_CONFIG --libs --static "$LUA_PACKAGE"`])
   for luamp_flag in $luamp_all; do
     AS_CASE([$luamp_flag], [-llua*], [], [luamp_rest="$luamp_rest $luamp_flag"])
   done
   luamp_saved_LIBS=$LIBS
   luamp_saved_CPPFLAGS=$CPPFLAGS
   CPPFLAGS="$CPPFLAGS $LUA_CFLAGS"
   LIBS="$luamp_archive $luamp_rest $LIBS"
   AC_LINK_IFELSE(
     [AC_LANG_PROGRAM([[#include <lualib.h>
#include <lauxlib.h>]], [[luaL_openlibs(luaL_newstate());]])],
     [LUA_HOST_LIBS="$luamp_archive $luamp_rest"],
     [luamp_archive=])
   LIBS=$luamp_saved_LIBS
   CPPFLAGS=$luamp_saved_CPPFLAGS])
AS_IF([test -n "$luamp_archive"], [AC_MSG_RESULT([$luamp_archive])],
  [test "$with_static_lua" = yes],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([there is no static library of Lua beside '$LUA_LIBS'])],
  [AC_MSG_RESULT([no; the host will load the shared one])])
])
