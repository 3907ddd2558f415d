# Two targets: `docker build --target cpu .` (the default) and `--target gpu`.
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/peca
ENV PATH=/opt/peca/bin:$PATH

FROM build AS build-cpu
RUN pip install --no-cache-dir -c constraints.txt '.[cpu,milvus]'

FROM build AS build-gpu
RUN pip install --no-cache-dir -c constraints.txt '.[gpu,milvus]'

FROM python:3.12-slim AS base
RUN useradd --system --uid 10001 --home-dir /var/lib/peca --create-home peca
# One arena of malloc a core keeps the memory of many threads from growing.
ENV PATH=/opt/peca/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    TMPDIR=/var/lib/peca/tmp \
    PECA_GALLERY=embedded:/var/lib/peca/gallery \
    PECA_DATA_DIR=/var/lib/peca/gallery \
    PECA_LOG_FORM=json \
    PECA_HOST=0.0.0.0
RUN install -d -o peca -g peca /var/lib/peca/tmp
WORKDIR /var/lib/peca
VOLUME /var/lib/peca
EXPOSE 8000
# Large request bodies are kept in TMPDIR while they come in.
# By port and TLS of the PECA_ variables; whether it is ready is for whoever sends it requests to ask.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-m", "server.probe"]
STOPSIGNAL SIGTERM
USER peca
CMD ["peca", "serve"]

FROM base AS gpu
COPY --from=build-gpu /opt/peca /opt/peca

FROM base AS cpu
COPY --from=build-cpu /opt/peca /opt/peca
