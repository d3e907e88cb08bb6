# The host: data, models, training, pruning, export and the `s4op` command.
#   docker build -f docker/host.Dockerfile -t edge-s4op-host .
# torch arrives with its CUDA libraries (several GB). For an image without them give pip an index that
# has CPU builds: --build-arg PIP_EXTRA_INDEX_URL=<PyTorch's index of CPU wheels>
FROM python:3.11-slim AS build
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /src
COPY . .
RUN docker/install.sh /opt/venv host

FROM python:3.11-slim
COPY --from=build /opt/venv /opt/venv
RUN useradd --uid 1000 --create-home s4op && install --directory --owner=s4op --group=s4op /runs
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
USER 1000
WORKDIR /runs
VOLUME /runs
ENTRYPOINT ["s4op"]
CMD ["--help"]
