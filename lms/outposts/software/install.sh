#!/bin/sh
# Installs Seodang from this stick, without a line:   sh install.sh [--to FOLDER]
#
# Needs Python 3.11 or newer and nothing else; pip comes along as a wheel. Nothing is switched on
# before every file was compared with its digest and everything is on the disk, so that it can be
# cut off anywhere and run again. `lms centre update` runs it with --beside, which only installs.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
files=$here/software
root=/opt/seodang
beside=no

say() { # English, Korean
  case ${LC_ALL:-${LC_MESSAGES:-${LANG:-}}} in
    ko*) printf '%s\n' "$2" ;;
    *) printf '%s\n' "$1" ;;
  esac
}

fail() {
  say "install.sh: $1" "install.sh: $2" >&2
  exit 1
}

about() { # the values of a key in software/about
  sed -n "s/^$1 //p" "$files/about"
}

while [ $# -gt 0 ]; do
  case $1 in
    --to) shift; root=${1:?} ;;
    --beside) beside=yes ;;
    *) fail "it takes --to FOLDER and nothing else, not $1." \
      "--to 폴더 말고는 받지 않습니다: $1" ;;
  esac
  shift
done

{ [ -f "$files/about" ] && [ -f "$files/SHA256SUMS" ]; } || fail \
  "the stick is damaged or was pulled out too early: $files is not whole. Write it again with lms bundle export." \
  "USB가 손상되었거나 너무 일찍 뽑혔습니다: $files 폴더가 온전하지 않습니다. lms bundle export로 다시 만드세요."

# A Python that the stick has wheels for.
find_python() {
  found=
  for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    kind=$("$candidate" -c 'import platform, sys
libc = platform.libc_ver()[0] or "no"
print("%d.%d %s %s" % (*sys.version_info[:2], platform.machine(), libc))' 2>/dev/null) || continue
    found=${found:-$kind}
    if about python | grep -qxF "$kind"; then
      python=$(command -v "$candidate")
      return
    fi
  done
  wanted=$(about python | sed 's/ glibc$//' | tr '\n' ',' | sed 's/,$//; s/,/, /g')
  [ -n "$found" ] || fail \
    "there is no Python 3 on this machine. The stick is for Python $wanted." \
    "이 컴퓨터에 Python 3이 없습니다. 이 USB는 Python $wanted 용입니다."
  fail "the stick is for Python $wanted, and this machine has Python $found. Ask central for a stick for this one." \
    "이 USB는 Python $wanted 용인데 이 컴퓨터는 Python $found 입니다. 중앙에 이 컴퓨터용 USB를 요청하세요."
}

check_files() {
  say "Comparing every file with its digest." "모든 파일을 다이제스트와 비교합니다."
  bad=$(cd "$files" && sha256sum -c SHA256SUMS 2>/dev/null | sed -n '/: OK$/!s/: [A-Z].*$//p' | head -n 3) || true
  (cd "$files" && sha256sum -c SHA256SUMS >/dev/null 2>&1) || fail \
    "the stick is damaged: ${bad:-SHA256SUMS}. Nothing was installed; write the stick again." \
    "USB가 손상되었습니다: ${bad:-SHA256SUMS}. 아무것도 설치하지 않았습니다. USB를 다시 만드세요."
}

check_room() {
  needed=$(about kilobytes)
  free=$(df -Pk "$root" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$needed" ] || fail \
    "$root has $((free / 1024)) MB of room and needs $((needed / 1024 + 1)) MB. Make room and run this again." \
    "$root 에 빈 공간이 $((free / 1024)) MB인데 $((needed / 1024 + 1)) MB가 필요합니다. 공간을 만들고 다시 실행하세요."
}

install() {
  rm -rf "$folder"
  mkdir "$folder"
  "$python" -m venv --without-pip "$folder" >"$log" 2>&1 || fail \
    "this Python cannot make a virtual environment; $log says why." \
    "이 Python으로는 가상 환경을 만들 수 없습니다. 이유는 $log 에 있습니다."
  mkdir "$folder/tmp"
  say "Installing $name; this takes a minute or two." "$name 설치 중입니다. 1~2분 걸립니다."
  pip=$(cd "$files" && ls pip-*.whl)
  TMPDIR=$folder/tmp "$folder/bin/python" "$files/$pip/pip" --isolated install --quiet \
    --no-index --no-deps --no-cache-dir --require-hashes --no-input \
    --disable-pip-version-check --no-warn-script-location \
    --find-links "$files" -r "$files/requirements.txt" >"$log" 2>&1 || fail \
    "the packages could not be installed; $log says why. Run this again when that is mended." \
    "패키지를 설치하지 못했습니다. 이유는 $log 에 있습니다. 고친 뒤 다시 실행하세요."
  rm -rf "$folder/tmp"
  "$folder/bin/lms" --version >"$log" 2>&1 || fail \
    "what was installed does not start; $log says why." \
    "설치한 프로그램이 시작되지 않습니다. 이유는 $log 에 있습니다."
  cp "$files/requirements.txt" "$files/about" "$folder/"
  sync
  : >"$folder/.whole"
  sync
}

name=$(about name)
python=
find_python
mkdir -p "$root" 2>/dev/null || fail \
  "$root cannot be made: run this as root, or name another folder with --to." \
  "$root 폴더를 만들 수 없습니다. root로 실행하거나 --to로 다른 폴더를 정하세요."
[ -w "$root" ] || fail "$root cannot be written: run this as root, or name another folder with --to." \
  "$root 에 쓸 수 없습니다. root로 실행하거나 --to로 다른 폴더를 정하세요."
folder=$root/$name
log=$root/install.log

if [ "$beside" = no ] && [ -e "$root/current" ] && [ "$(readlink "$root/current")" != "$name" ]; then
  fail "$root holds $(readlink "$root/current") already. Update it with: $root/current/bin/lms centre pull --from $here and then lms centre update" \
    "$root 에 $(readlink "$root/current")이(가) 이미 있습니다. 이렇게 업데이트하세요: $root/current/bin/lms centre pull --from $here, 그다음 lms centre update"
fi
if [ ! -f "$folder/.whole" ]; then
  check_files
  check_room
  install
fi
[ "$beside" = yes ] && exit 0

if [ ! -e "$root/current" ]; then
  rm -f "$root/current.new"
  ln -s "$name" "$root/current.new"
  "$python" -c 'import os, sys; os.replace(sys.argv[1], sys.argv[2])' "$root/current.new" "$root/current"
  sync
fi
say "Seodang $name is installed in $root. Next, with the ticket from central:" \
  "Seodang $name을(를) $root 에 설치했습니다. 다음으로, 중앙에서 받은 티켓으로:"
printf '  LMS_DATA=/var/lib/seodang %s/current/bin/lms centre join TICKET\n' "$root"
printf '  LMS_DATA=/var/lib/seodang %s/current/bin/lms up\n' "$root"
