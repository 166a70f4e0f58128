# What ./demo and ./check share. Sourced by bash with the project's folder as the working directory.

started=$SECONDS
# Several programs with several threads each share the processors here: threads that wait must not spin.
export OMP_WAIT_POLICY=passive
under=()  # a command before the build's and the tests', such as setarch; usually none
jobs=${NIGIRI_JOBS:-$(nproc)}

# step WORDS...: a heading with the time since the start.
step() {
    local since=$((SECONDS - started))
    printf '\n== %s  [%d:%02d]\n' "$*" $((since / 60)) $((since % 60))
}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# configure PRESET FOLDER [OPTION...]: with ccache where there is one, and afresh where the folder was made for another place.
configure() {
    local preset=$1 folder=$2
    shift 2
    command -v cmake > /dev/null || fail "cmake is not installed."
    local options=("$@")
    if command -v ccache > /dev/null; then
        # Paths relative to the project, so that every clone on a machine shares what was compiled.
        export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
        options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    fi
    if [[ -f $folder/CMakeCache.txt ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$folder/CMakeCache.txt"; then
        options+=(--fresh)
    fi
    cmake --preset "$preset" "${options[@]}" > "$(log_of "$folder" configure)" 2>&1 || show_log "$folder" configure
}

# build FOLDER [TARGET...]: silent but for warnings; shows the end of the log where it fails.
build() {
    local folder=$1
    shift
    local targets=()
    if [[ $# -gt 0 ]]; then targets=(--target "$@"); fi
    "${under[@]}" cmake --build "$folder" -j "$jobs" "${targets[@]}" > "$(log_of "$folder" build)" 2>&1 || show_log "$folder" build
    grep -E 'warning:' "$(log_of "$folder" build)" | sort -u || true
}

log_of() {
    mkdir -p "$1"
    echo "$1/$2.log"
}

# Prints the part of a log that says why, and fails.
show_log() {
    local log
    log=$(log_of "$1" "$2")
    echo "Failed; the whole log is in $log" >&2
    { grep -E -A 12 'error:|CMake Error|FAILED:' "$log" || tail -n 30 "$log"; } | head -n 60 >&2
    return 1
}
