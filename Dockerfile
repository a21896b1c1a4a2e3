# syntax=docker/dockerfile:1
# It works in /work, which is the home of its user too, so that caches stay in the folder that is mounted there. On a CPU:
#   docker build --tag selectune .
#   docker run --rm --user "$(id -u)" --volume "$PWD:/work" selectune quickstart
# On a GPU of NVIDIA:
#   docker build --tag selectune:cuda --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 \
#     --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#   docker run --rm --user "$(id -u)" --gpus all --volume "$PWD:/work" selectune:cuda fit --config euds/sst2
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 PATH=/opt/selectune/bin:$PATH
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN command -v python3 > /dev/null || { apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*; }
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY selectune selectune
COPY configs configs
COPY results/published results/published
RUN python3 -m venv /opt/selectune \
    && /opt/selectune/bin/pip install --constraint constraints.txt --extra-index-url "${TORCH_INDEX}" .
RUN mkdir /work && chown 10001 /work
USER 10001
ENV HOME=/work LOGNAME=selectune
WORKDIR /work
ENTRYPOINT ["selectune"]
CMD ["--help"]
