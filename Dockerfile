# Two builds from the same base image are identical. To pin it, pass --build-arg PYTHON=python:3.13-slim@sha256:...
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build

WORKDIR /src
COPY requirements.txt requirements-build.txt ./
RUN python -m venv /tools \
 && /tools/bin/pip install --no-cache-dir --no-compile --require-hashes --only-binary :all: -r requirements-build.txt \
 && python -m venv --without-pip /app \
 && /tools/bin/pip --python /app install --no-cache-dir --no-compile --require-hashes --only-binary :all: -r requirements.txt

COPY hatch_build.py pyproject.toml README.md LICENSE ./
COPY docs docs
COPY exporter exporter
COPY deploy/image.py deploy/
# The version without the v of its tag.
ARG VERSION=0.0.0
ARG REVISION=unknown
# The URL of the repository, for links.
ARG URL
# The date of the commit in Unix seconds: git log -1 --format=%ct.
ARG SOURCE_DATE_EPOCH
# image.py moves the exporter's own files from /app to /program/app.
RUN SETUPTOOLS_SCM_PRETEND_VERSION="${VERSION}" EXPORTER_REVISION="${REVISION}" REPOSITORY_URL="${URL}" \
    /tools/bin/hatchling build -t wheel \
 && /tools/bin/pip --python /app install --no-compile --no-deps --no-index --find-links dist telnyx-exporter \
 && /tools/bin/cyclonedx-py environment --no-validate --output-reproducible --output-file /app/sbom.cdx.json /app \
 && /app/bin/python deploy/image.py /program/app \
 && mkdir /dependencies \
 && mv /app /dependencies/


FROM ${PYTHON}

ARG VERSION=0.0.0
ARG REVISION=unknown
ARG URL

LABEL org.opencontainers.image.title="telnyx-exporter" \
      org.opencontainers.image.description="Prometheus exporter for the state and settings of Telnyx SIP trunks" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${URL}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The layer of the dependencies stays the same until they or Python change. So a new version is a small download.
COPY --from=build /dependencies /
COPY --from=build /program /

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/app/bytecode \
    PYTHONUNBUFFERED=1

# A numeric user, so that Kubernetes can check that it is not root. The user has no home directory and no writable files.
USER 65532:65532
WORKDIR /
EXPOSE 10142
STOPSIGNAL SIGTERM

# This check works with and without TLS: it ends its side of the connection without a request, and the exporter then closes the
# connection. An exporter that hangs doesn't.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["/app/bin/python", "-c", "\
import socket; s = socket.create_connection(('localhost', 10142), 4); \
s.shutdown(socket.SHUT_WR); exit(s.recv(1) != b'')"]

ENTRYPOINT ["/app/bin/telnyx-exporter"]
