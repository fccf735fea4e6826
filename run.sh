#!/usr/bin/env bash
# Noisy Student Training from one command: installs into .venv beside this file, then runs.
# `bash run.sh help` lists what it can do. Works from any directory; relative paths in flags,
# including the recipe's work directory, are relative to the current directory.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$root/.venv
default_recipe=mnist5k

help() {
  cat <<TEXT
Usage: bash run.sh [RECIPE] [--flag=value ...]   train, evaluate and report (default: $default_recipe)
       bash run.sh STAGE [--flag=value ...]      run one stage, such as predict or evaluate, like noisy-student
       bash run.sh test [pytest arguments]       run the tests; without arguments, also check the style
       bash run.sh docs                          build the documentation in site/
       bash run.sh setup                         install only
       bash run.sh help                          show this text
Recipes:
$(recipe_titles)
Stages:  $(stages)
Flags:   bash run.sh --help lists them; a flag given here overrides the recipe's.
Shell:   source .venv/bin/activate makes noisy-student and import noisy_student available everywhere.
Python:  3.11, 3.12 or 3.13; select one with PYTHON=/path/to/python bash run.sh ...
TEXT
}

fail() {
  echo "run.sh: $*" >&2
  exit 1
}

recipes() {
  local file names=
  for file in "$root"/recipes/*.flags; do
    file=${file##*/}
    names+=${names:+, }${file%.flags}
  done
  echo "$names"
}

# Prints the names of the stages: the commands of noisy-student.
stages() {
  local name names=
  while IFS= read -r name; do
    names+=${names:+, }$name
  done < <(sed -n 's/^    "\([a-z]*\)": (.*/\1/p' "$root/noisy_student/cli.py")
  echo "$names"
}

# Prints a line for each recipe: its name and the first line of its head comment.
recipe_titles() {
  local file title
  for file in "$root"/recipes/*.flags; do
    IFS= read -r title <"$file" || true
    file=${file##*/}
    printf '  %-20s %s\n' "${file%.flags}" "${title#\# }"
  done
}

# Prints the version of the interpreter $1 if it runs, is a supported one and imports the module $2.
supported_version() {
  "$1" -c "
import $2, sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13): sys.exit(1)
print('Python %d.%d.%d' % sys.version_info[:3])" 2>/dev/null </dev/null
}

# Prints an interpreter that can create the virtual environment. A name on the PATH may still fail
# to run (as pyenv's shims do), so each is tried.
find_python() {
  local candidate candidates=(python3.13 python3.12 python3.11 python3 python)
  [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    if supported_version "$candidate" ensurepip >/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "needs Python 3.11, 3.12 or 3.13 with its venv module; tried ${candidates[*]}"
}

# Creates .venv unless a working one exists; PYTHON, if given, must have the same version.
make_venv() {
  local python version
  version=$(supported_version "$venv/bin/python" pip) || version=none
  [[ -n ${PYTHON:-} || $version == none ]] || return 0
  python=$(find_python)
  [[ $(supported_version "$python" ensurepip) != "$version" ]] || return 0
  rm -rf "$venv"
  "$python" -m venv "$venv" >/dev/null || fail "$python could not make $venv"
}

# Adds this folder's packages and the command noisy-student to the environment, like an editable
# pip install, which would have to download a build system.
link_packages() {
  local command=$venv/bin/noisy-student
  [[ ! -x $command ]] || return 0
  printf '%s\n' "$root" >"$(echo "$venv"/lib/python3.*/site-packages)/noisy-student.pth"
  printf '#!/usr/bin/env bash\nexec %q -P -m noisy_student "$@"\n' "$venv/bin/python" >"$command"
  chmod +x "$command"
}

# Installs the packages of requirements file $1 unless they are installed. The stamp, written last,
# records the requirements, so that an interrupted or outdated installation is repeated.
install() {
  make_venv
  link_packages
  local stamp=$venv/installed-${1%.txt} log=$venv/install.log reason wanted
  wanted=$("$venv/bin/python" -V; cat "$root"/requirements*.txt)
  [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]] || return 0
  rm -f "$venv"/installed-*
  echo "Installing $1 into $venv (once; 3 GB, one or two minutes) ..." >&2
  if ! "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --progress-bar=off \
    --requirement="$root/$1" >"$log" 2>&1 </dev/null; then
    reason=$(sed -n 's/^ERROR: //p' "$log" | tail -n 1)
    ! grep -q 'connection broken' "$log" || reason="cannot reach the package index; $reason"
    fail "pip could not install $1 (${reason:-no reason given}); log: $log"
  fi
  echo "$wanted" >"$stamp"
  # requirements-dev.txt contains requirements.txt.
  [[ $1 != requirements-dev.txt ]] || echo "$wanted" >"$venv/installed-requirements"
}

run_tests() {
  install requirements-dev.txt
  cd "$root"
  if (($# == 0)); then
    "$venv/bin/python" -m ruff check --quiet .
    "$venv/bin/python" -m ruff format --quiet --check .
    "$venv/bin/python" -m mypy --no-error-summary
    "$venv/bin/lint-imports" --no-logo >"$venv/import-contracts.log" || {
      cat "$venv/import-contracts.log"
      fail "an import breaks the rules in pyproject.toml (docs/ARCHITECTURE.md)"
    }
    # Two processes, each with whole files in the order of tests/conftest.py.
    set -- -n 2 --dist=loadfile --no-loadscope-reorder
  fi
  exec "$venv/bin/python" -m pytest -m "not slow and not network" "$@"
}

build_docs() {
  install requirements-docs.txt
  cd "$root"
  export NO_MKDOCS_2_WARNING=1
  exec "$venv/bin/python" -m mkdocs build --strict "$@"
}

run_recipe() {
  local recipe=$1
  shift
  if [[ ! -f $root/recipes/$recipe.flags ]]; then
    [[ ", $(stages), " == *", $recipe, "* ]] ||
      fail "unknown recipe or stage '$recipe'; recipes: $(recipes); stages: $(stages)"
    install requirements.txt
    exec "$venv/bin/python" -P -m noisy_student "$recipe" "$@"
  fi
  install requirements.txt
  exec "$venv/bin/python" -P -m noisy_student.iterate "--flagfile=$root/recipes/$recipe.flags" "$@"
}

# Prints the command as typed, for the report.
typed_command() {
  local word command='bash run.sh'
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_.,:/=+@%-]+$ ]] || word=$(printf %q "$word")
    command+=" $word"
  done
  echo "$command"
}

# -P above and PYTHONPATH here: import the packages from this folder, not the current directory.
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export KERAS_BACKEND=tensorflow
NOISY_STUDENT_COMMAND=$(typed_command "$@")
export NOISY_STUDENT_COMMAND

case ${1:-} in
  help) help ;;
  setup) install requirements.txt ;;
  docs)
    shift
    build_docs "$@"
    ;;
  test)
    shift
    run_tests "$@"
    ;;
  '' | -*) run_recipe "$default_recipe" "$@" ;;
  *) run_recipe "$@" ;;
esac
