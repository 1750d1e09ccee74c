#!/usr/bin/env bash
# Run every security check and print its result. Fails if a check fails; ends with a list of those that could not run.
# `make security` runs it.
#
# Needs .venv (the project), .venvs/sam (cfn-lint) and .venvs/security (requirements/security.txt).
# pip-audit asks PyPI for known vulnerabilities; nothing else needs the internet.
set -uo pipefail
cd "$(dirname "$0")/../.."

tools=.venvs/security/bin
scan=.local/security
failed=()
not_run=()
export AWS_DEFAULT_REGION=us-east-1 PYTHONPATH=.
unset AWS_PROFILE AWS_DEFAULT_PROFILE

NOT_RUN=75 # EX_TEMPFAIL of sysexits.h

check() { # name, command…
    local name=$1 out=$scan/$1.txt start=$SECONDS status=0
    shift
    "$@" >"$out" 2>&1 || status=$?
    case $status in
    0) printf 'ok       %-26s %3ds\n' "$name" $((SECONDS - start)) ;;
    "$NOT_RUN")
        printf 'NOT RUN  %-26s %3ds  see %s\n' "$name" $((SECONDS - start)) "$out"
        not_run+=("$name: $(tail -n 1 "$out")")
        ;;
    *)
        printf 'FAILED   %-26s %3ds  see %s\n' "$name" $((SECONDS - start)) "$out"
        failed+=("$name")
        ;;
    esac
}

pip_audit() { # only what is deployed: development tools process no input of others
    local file found status vulnerable=0 unknown=()
    for file in layers/common/python/requirements.txt functions/*/requirements.txt; do
        status=0
        found=$("$tools/pip-audit" --progress-spinner off --disable-pip --require-hashes --requirement "$file" 2>&1) ||
            status=$?
        printf '== %s\n%s\n' "$file" "$found"
        if [[ $found == *"known vulnerabilit"* && $found != *"No known vulnerabilities found"* ]]; then
            vulnerable=1
        elif [[ $status != 0 || $found == *"could not be audited"* ]]; then
            unknown+=("$file")
        fi
    done
    ((vulnerable == 0)) || return 1
    ((${#unknown[@]} == 0)) || {
        echo "no advisories available for ${unknown[*]}; run this where PyPI is reachable"
        return "$NOT_RUN"
    }
}

secrets_in_tree() { # in all tracked files, except what the baseline lists as reviewed
    # The hook updates the line numbers of a baseline, and ends with 3 if it has: it gets a copy.
    local baseline=$scan/secrets-baseline.json
    cp tools/checks/secrets-baseline.json "$baseline"
    # shellcheck disable=SC2016 # the inner shell expands these
    git ls-files -z -- . ':!*package-lock.json' ':!*requirements*.txt' |
        xargs -0 bash -c '"$0" --baseline "$1" "${@:2}" || (($? == 3))' "$tools/detect-secrets-hook" "$baseline"
}

combinations_lint() { # in a folder without the configuration of the project, which names its own templates
    (cd "$scan/combinations" && printf '%s\0' *.json |
        xargs -0 -n 4 -P 2 "$OLDPWD/.venvs/sam/bin/cfn-lint" --non-zero-exit-code error --)
}

mkdir -p "$scan"
.venv/bin/python -m tests.template.dump "$scan" || exit 1
check bandit "$tools/bandit" -q -c tools/checks/bandit.yaml -r layers functions
check bandit-local "$tools/bandit" -q -c tools/checks/bandit-local.yaml -r tools/local tools/release tools/simulator tools/cli proxyctl
check pip-audit pip_audit
check cfn-lint-combinations combinations_lint
check cfn-lint .venvs/sam/bin/cfn-lint -- template.yaml infrastructure/*.yaml
check iam-and-template-rules .venv/bin/pytest -q tests/template
check checkov-default "$tools/checkov" --config-file tools/checks/checkov-default.yaml --file "$scan/default.json"
check checkov-everything "$tools/checkov" --config-file tools/checks/checkov-everything.yaml --file "$scan/everything.json"
check secrets-in-the-tree secrets_in_tree

# The bash of macOS takes an empty array for an unset variable.
for each in ${not_run[@]+"${not_run[@]}"}; do echo "NOT RUN  $each" >&2; done
((${#failed[@]} == 0)) || { echo "failed: ${failed[*]}" >&2; exit 1; }
((${#not_run[@]} > 0)) || echo "all security checks passed"
