#!/usr/bin/env bash
# Every security check, each with its verdict; fails if one does. `make security` runs it.
#
# Wants .venv (the project), .venvs/sam (cfn-lint) and .venvs/security (requirements/security.txt).
# pip-audit asks PyPI for known vulnerabilities; nothing else here needs the internet.
set -uo pipefail
cd "$(dirname "$0")/.."

tools=.venvs/security/bin
scan=.local/security
failed=()
export AWS_DEFAULT_REGION=us-east-1 PYTHONPATH=.

NOT_RUN=75 # EX_TEMPFAIL of sysexits.h

check() { # name, command…
    local name=$1 out=$scan/$1.txt start=$SECONDS status=0
    shift
    "$@" >"$out" 2>&1 || status=$?
    case $status in
    0) printf 'ok       %-26s %3ds\n' "$name" $((SECONDS - start)) ;;
    "$NOT_RUN") printf 'NOT RUN  %-26s %s\n' "$name" "$(tail -n 1 "$out")" ;;
    *)
        printf 'FAILED   %-26s %3ds  see %s\n' "$name" $((SECONDS - start)) "$out"
        failed+=("$name")
        ;;
    esac
}

pip_audit() { # what ships; development tools see no stranger's input
    local verdict=0 file found
    for file in layers/common/python/requirements.txt functions/*/requirements.txt; do
        echo "== $file"
        found=$("$tools/pip-audit" --progress-spinner off --disable-pip --require-hashes --requirement "$file" 2>&1) || verdict=1
        echo "$found"
        ((verdict == 0)) || return 1
        if [[ $found == *"could not be audited"* ]]; then
            echo "PyPI does not answer for every package of $file here: run it where PyPI itself can be reached"
            return $NOT_RUN
        fi
    done
}

secrets_in_tree() { # what git tracks, against what was looked at and found harmless
    git ls-files -z -- . ':!*package-lock.json' ':!*requirements*.txt' |
        xargs -0 "$tools/detect-secrets-hook" --baseline checks/secrets-baseline.json
}

mkdir -p "$scan"
.venv/bin/python -m tests.template.dump "$scan" || exit 1
check bandit "$tools/bandit" -q -c checks/bandit.yaml -r layers functions
check bandit-local "$tools/bandit" -q -c checks/bandit-local.yaml -r local
check pip-audit pip_audit
check cfn-lint .venvs/sam/bin/cfn-lint -- template.yaml
check iam-and-template-rules .venv/bin/pytest -q tests/template
check checkov-default "$tools/checkov" --config-file checks/checkov-default.yaml --file "$scan/default.json"
check checkov-everything "$tools/checkov" --config-file checks/checkov-everything.yaml --file "$scan/everything.json"
check secrets-in-the-tree secrets_in_tree

((${#failed[@]} == 0)) || { echo "failed: ${failed[*]}" >&2; exit 1; }
