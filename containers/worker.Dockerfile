# A worker, with torch and timm. One process computes on one device; scale by adding containers.
FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY requirements/worker.txt requirements/
RUN pip install --no-cache-dir -r requirements/worker.txt
COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY migrations migrations
COPY registry registry
COPY sat_engine sat_engine
COPY worker worker
RUN pip install --no-cache-dir --no-deps -e . \
    && useradd --system --uid 10001 --create-home sat \
    && mkdir -p /artifacts && chown sat /artifacts
USER sat
CMD ["python", "-m", "worker"]
