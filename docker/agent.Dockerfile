# The device agent for a Jetson with JetPack 6.2 (L4T r36.4, TensorRT 10.3, CUDA 12.6, Python 3.10), with the
# SSMConv plugin built inside. Build it on the Jetson, run it with NVIDIA's container runtime:
#   docker build -f docker/agent.Dockerfile -t edge-s4op-agent .
#   docker run --runtime nvidia -p 8600:8600 -v s4op-data:/data edge-s4op-agent
# Other versions of JetPack 6.1 or later: --build-arg BASE=<the image that belongs to the L4T on the board>.
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE} AS build
# Versions are those of the base's Ubuntu release: a pin would break with its next security update.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends cmake g++ make python3-dev python3-venv && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN docker/check_jetpack.sh
RUN make plugin && install -D --target-directory=/opt/s4op/lib build/trt_plugins/libs4op_ssm_conv.so
# TensorRT's Python module is JetPack's: the environment sees the system's packages. PyCUDA is compiled here.
RUN PATH=/usr/local/cuda/bin:$PATH SYSTEM_PACKAGES=1 docker/install.sh /opt/venv agent,jetson

FROM ${BASE}
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/s4op /opt/s4op
# The GPU's device files belong to the group video. A named volume mounted on /data takes over its owner.
RUN useradd --uid 1000 --create-home --groups video s4op && install --directory --owner=s4op --group=s4op /data
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 S4OP_TRT_PLUGIN=/opt/s4op/lib/libs4op_ssm_conv.so
USER 1000
VOLUME /data
EXPOSE 8600
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=5 \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8600/v2/health/ready').raise_for_status()"]
ENTRYPOINT ["s4op-agent"]
CMD ["--host", "0.0.0.0", "--port", "8600", "--data-dir", "/data", "--backend", "tensorrt"]
