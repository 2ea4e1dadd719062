# prepare.sh: what ./run and ./check have in common, to be read by them with `.`: it installs what
# the build needs and is not there, and builds. Everything it says goes to standard error. Expects
# $top, the source tree.

packages='autoconf automake gcc groff-base libc6-dev libedit2 liblua5.4-dev libtool lua-dkjson lua5.4 luarocks make nettle-dev pkg-config spin'

say() {
    echo "luamp: $*" >&2
}

# give_up MESSAGE [LOG]: the end, with what the log says last.
give_up() {
    if [ -n "${2-}" ] && [ -s "$2" ]; then
        tail -n 25 "$2" >&2
    fi
    say "$1"
    exit 1
}

missing_packages() {
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages 2>/dev/null)
    for package in $packages; do
        case "
$installed
" in
        *"
installed $package
"*) ;;
        *) printf '%s ' "$package" ;;
        esac
    done
}

install_missing() {
    if ! command -v dpkg-query >/dev/null; then
        # Not a Debian: configure will say what it lacks.
        command -v autoreconf >/dev/null ||
            give_up "autoreconf is missing; install your system's packages for: $packages"
        return
    fi
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0

    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            give_up "these packages are missing, and only root can install them: $missing"
        as_root=sudo
    fi
    say "installing $missing"
    log=$top/build/install.log
    $as_root apt-get -q update </dev/null >"$log" 2>&1
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y --no-install-recommends install $missing </dev/null >>"$log" 2>&1 ||
        give_up "apt-get could not install $missing(is there a network? the whole log: $log)" "$log"
}

# build FOLDER [CONFIGURE OPTION...]: makes FOLDER of the source tree the build that the options
# ask for.
build() {
    folder=$top/$1
    shift
    mkdir -p "$folder"
    log=$folder/build.log
    if [ ! -f "$top/configure" ] || [ ! -f "$top/Makefile.in" ]; then
        say "making configure"
        (cd "$top" && autoreconf -i) >"$log" 2>&1 || give_up "autoreconf failed" "$log"
    fi
    # A build knows where it is: one that was moved or copied is configured again.
    if ! grep -qxF "abs_top_builddir = $folder" "$folder/Makefile" 2>/dev/null; then
        say "building in ${folder#"$top"/}, which takes a moment the first time"
        (cd "$folder" && ../configure -q "$@") >"$log" 2>&1 || give_up "configure failed" "$log"
    fi
    make -s -C "$folder" -j "$(getconf _NPROCESSORS_ONLN)" >"$log" ||
        give_up "the build failed" "$log"
}

# prepare FOLDER [CONFIGURE OPTION...]: the same after the installation, and one at a time.
prepare() {
    mkdir -p "$top/build" || give_up "cannot write to $top"
    if command -v flock >/dev/null; then
        exec 9>"$top/build/.lock"
        flock 9
    fi
    install_missing
    build "$@"
    exec 9>&-
}
