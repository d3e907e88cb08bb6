# The device agent with ONNX Runtime on the CPU; no torch.
#   docker build -f docker/agent-cpu.Dockerfile -t edge-s4op-agent-cpu .
FROM python:3.11-slim AS build
# For SSMConv's library (docs/onnxruntime.md). A pin would break with Debian's next security update.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends g++ && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN docker/install.sh /opt/venv agent

FROM python:3.11-slim
COPY --from=build /opt/venv /opt/venv
# A named volume mounted on /data takes over this owner.
RUN useradd --uid 1000 --create-home s4op && install --directory --owner=s4op --group=s4op /data
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
USER 1000
VOLUME /data
EXPOSE 8600
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=5 \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8600/v2/health/ready').raise_for_status()"]
ENTRYPOINT ["s4op-agent"]
CMD ["--host", "0.0.0.0", "--port", "8600", "--data-dir", "/data"]
