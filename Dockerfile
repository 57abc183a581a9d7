FROM python:3.13-slim AS build

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN python -m venv /app \
 && /app/bin/pip install --no-cache-dir --no-compile . \
 && /app/bin/python -m compileall -q /app/lib \
 && /app/bin/pip uninstall --yes --quiet pip


FROM python:3.13-slim

ARG VERSION=0.1.0
ARG REVISION=unknown

LABEL org.opencontainers.image.title="telnyx-exporter" \
      org.opencontainers.image.description="Prometheus exporter for Telnyx SIP credential connections" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /app /app

ENV EXPORTER_REVISION="${REVISION}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# By number, so that Kubernetes can see that it is not root. No home, no shell, nothing to write to.
USER 65532:65532
WORKDIR /
EXPOSE 10142
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=30s --timeout=5s --start-period=5s \
    CMD ["/app/bin/python", "-c", "import urllib.request as r; r.urlopen('http://localhost:10142/-/healthy', timeout=4)"]

ENTRYPOINT ["/app/bin/telnyx-exporter"]
