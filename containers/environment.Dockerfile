# An environment: Python 3.11 and what its requirements.lock says, in /opt/env. `make images` builds it: it puts uv
# with the machine's index settings under /build and uv's cache under /cache, and neither stays in the image.
ARG BASE
FROM ${BASE}
COPY requirements.lock /opt/requirements.lock
RUN export SSL_CERT_FILE=/build/certificates.crt \
 && /build/uv --config-file /build/uv.toml venv --python python3.11 /opt/env \
 && /build/uv --config-file /build/uv.toml pip install --python /opt/env/bin/python --no-deps --require-hashes \
      --build-constraints /opt/requirements.lock -r /opt/requirements.lock
# Bytecode is bound to its source by hash, as every file of an image has the same time and a step may write none. Fixed
# batches, each in a process of its own: what a process has compiled before shows in the bytes of what it compiles next.
RUN find "$(/opt/env/bin/python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" /opt/env/lib \
      -name '*.py' -print0 | LC_ALL=C sort -z | PYTHONHASHSEED=0 xargs -0 -P 4 -n 400 \
      /opt/env/bin/python -m compileall -q -f --invalidation-mode unchecked-hash \
 || echo "some files are no Python 3"
ENV PATH=/opt/env/bin:/usr/local/bin:/usr/bin:/bin
