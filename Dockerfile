# The images of placerank: `make images`, or `docker build --target api|worker .`
#
# The layers are ordered by how often they change: system, dependencies, code. A change of code builds and ships only
# the last layer. BuildKit is not needed.

FROM python:3.13-slim AS base

# The system of both images, without the files that only builds and installs need. It is copied into an empty image,
# because files that a layer removes still take space in the layer below. No program keeps a setuid or setgid bit.
# Python's own modules are compiled here: the root file system is read-only, so each start would compile them again.
FROM base AS system
RUN set -eu; \
    stdlib="$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"; \
    rm -rf "$stdlib/ensurepip" "$stdlib/idlelib" "$stdlib/lib2to3" "$stdlib/test" "$stdlib/tkinter" "$stdlib/turtledemo"; \
    rm -rf /usr/local/lib/python3*/site-packages/* /usr/lib/python3/dist-packages/* /usr/share/python-wheels; \
    rm -f /usr/local/bin/pip* /usr/bin/pip* /usr/local/bin/idle* /usr/local/bin/pydoc*; \
    rm -rf /var/cache/* /var/lib/apt/lists/* /var/log/* /usr/share/doc /usr/share/info /usr/share/man /usr/share/locale; \
    rm -rf /root/.cache /tmp/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    echo 'placerank:x:10001:10001::/tmp:/usr/sbin/nologin' >>/etc/passwd; \
    echo 'placerank:x:10001:' >>/etc/group; \
    python -m compileall -q -j 0 "$stdlib"

# The tools that install packages, in an environment that no image gets.
FROM base AS build
WORKDIR /build
COPY requirements/uv.txt requirements/build.txt requirements/
RUN python -m venv /uv \
    && /uv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/uv.txt \
    && python -m venv --without-pip /opt/venv
ENV VIRTUAL_ENV=/opt/venv \
    PATH=/uv/bin:/opt/venv/bin:$PATH \
    UV_NO_CACHE=1 \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1

FROM build AS api-dependencies
COPY requirements/api.txt requirements/
RUN uv pip install --require-hashes -r requirements/api.txt && rm -f /opt/venv/.lock

# Only our package, installed for /opt/venv.
FROM build AS package
RUN python -m venv --without-pip /build/venv \
    && uv pip install --python /build/venv --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN VIRTUAL_ENV=/build/venv uv build --wheel --no-build-isolation --out-dir dist \
    && uv pip install --no-deps --prefix /package/opt/venv dist/*.whl

FROM scratch AS runtime
COPY --from=system / /
# Python's bytecode is in the image, and the root file system may be read-only. HOME is /tmp for files such as torch's
# caches.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
ENTRYPOINT ["placerank"]
LABEL org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim"

FROM runtime AS api
COPY --from=api-dependencies /opt/venv /opt/venv
EXPOSE 8000
COPY --from=package /package/ /
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="placerank api" \
      org.opencontainers.image.description="The API, the relay and the small commands of placerank; without torch." \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

# For `skaffold dev`: it runs a writable copy of the code, and restarts when a file of the copy changes.
FROM api AS api-dev
COPY tools/reload.py /opt/reload.py
ENTRYPOINT ["python", "/opt/reload.py", "/tmp/code", "placerank"]

# First the packages with hashes, among them the dependencies that torch shares with them. Then torch, pinned by version
# only: TORCH_INDEX selects its build, and so its hash.
FROM build AS worker-dependencies
COPY requirements/worker.txt requirements/
RUN uv pip install --require-hashes -r requirements/worker.txt
COPY requirements/torch.txt requirements/
ARG TORCH_INDEX
RUN uv pip install -r requirements/torch.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
    && rm -f /opt/venv/.lock

FROM runtime AS worker
COPY --from=worker-dependencies /opt/venv /opt/venv
COPY --from=package /package/ /
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="placerank worker" \
      org.opencontainers.image.description="The inference and training workers of placerank, with torch." \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

FROM worker AS worker-dev
COPY tools/reload.py /opt/reload.py
ENTRYPOINT ["python", "/opt/reload.py", "/tmp/code", "placerank"]

# The default target is the API.
FROM api
