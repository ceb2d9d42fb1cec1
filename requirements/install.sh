#!/usr/bin/env bash
# install.sh PYTHON LOCK: the packages of a lock into the environment of PYTHON, each file checked against its hash.
#
# uv, itself in the lock, unpacks side by side what pip unpacks one after the other: a tenth of the time. It does not read
# pip's configuration, so it is told what pip is; should it still find less than pip does, pip takes its place.
set -euo pipefail
python=$1 lock=$2

pip() { "$python" -m pip --disable-pip-version-check "$@"; }
settings=$(pip config list)
configured() { sed -n "s/^[^.]*\.$1='\(.*\)'\$/\1/p" <<<"$settings" | sed 's/\\n/ /g' | xargs -n 1 | sort -u | xargs; }

export UV_FIND_LINKS UV_INDEX UV_DEFAULT_INDEX SSL_CERT_FILE
UV_FIND_LINKS=${UV_FIND_LINKS:-$(configured find-links | tr ' ' ',')}
UV_INDEX=${UV_INDEX:-$(configured extra-index-url)}
UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(configured index-url)}}
SSL_CERT_FILE=${SSL_CERT_FILE:-${PIP_CERT:-$(configured cert)}}
for name in UV_FIND_LINKS UV_INDEX UV_DEFAULT_INDEX SSL_CERT_FILE; do
  [ -n "${!name}" ] || unset "$name"
done

pip install --quiet --no-compile --no-deps --require-hashes -r <(sed -n '/^uv==/,/[^\\]$/p' "$lock")
"$(dirname "$python")/uv" pip install --quiet --python "$python" --index-strategy unsafe-best-match --require-hashes -r "$lock" || {
  echo "set-up: uv could not; pip tries, which takes a minute longer" >&2
  pip install --quiet --no-compile --require-hashes -r "$lock"
}
# Not what nobody imports: the packages' own tests.
"$python" -m compileall -qq -j 0 -x /tests/ "$(dirname "$python")/../lib" || true # a file that does not compile is not ours to mend
