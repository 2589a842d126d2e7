#!/bin/sh
# Make .venv/bench: the peers of benchmarks/requirements.txt, with .venv's own packages behind them.
set -eu

bench=.venv/bench
stamp=$bench/stamp
if [ -e "$stamp" ] && cmp -s "$stamp" benchmarks/requirements.txt; then exit 0; fi
echo "Making $bench with the peers."
.venv/bin/python -m venv --clear "$bench"
"$bench/bin/python" -m pip install -q --disable-pip-version-check --no-deps -r benchmarks/requirements.txt
packages=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
own=$("$bench/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# addsitedir and not the bare path: the editable install of this project is itself a .pth file there
printf 'import site; site.addsitedir("%s")\n' "$packages" >"$own/main.pth"
cp benchmarks/requirements.txt "$stamp"
