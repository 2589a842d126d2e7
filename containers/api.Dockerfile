# The api, without torch or scikit-learn. It also runs the migration.
FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY requirements/api.txt requirements/
RUN pip install --no-cache-dir -r requirements/api.txt
COPY pyproject.toml README.md LICENSE ./
COPY api api
COPY client client
COPY migrations migrations
COPY registry registry
COPY sat_engine sat_engine
RUN pip install --no-cache-dir --no-deps -e . \
    && useradd --system --uid 10001 sat \
    && mkdir -p /artifacts && chown sat /artifacts
USER sat
CMD ["python", "-m", "api"]
