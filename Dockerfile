# vos-zoo as a command, on a CPU or on CUDA: the base image and the index of PyTorch's wheels are build arguments.
#   docker build --tag vos-zoo .
#   docker build --tag vos-zoo:cuda --build-arg BASE=nvidia/cuda:12.6.3-runtime-ubuntu24.04 .
#   docker run --rm --volume "$PWD:/work" vos-zoo track video.mp4 --weights joint-small --mask first.png --output out.mp4
# TORCH_INDEX is the address of an index of PyTorch wheels, for example the one without CUDA, which makes a smaller image.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

ARG TORCH_INDEX=""
ENV PATH=/opt/vos-zoo/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NO_ALBUMENTATIONS_UPDATE=1 \
    WANDB_MODE=offline

# Images of CUDA have no Python.
RUN if ! command -v python3 >/dev/null; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends python3 python3-venv \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    && python3 -m venv /opt/vos-zoo

# PyTorch first: it is large, and stays in its layer when the package changes.
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} "torch>=2.6" "torchvision>=0.21"

COPY pyproject.toml README.md LICENSE /build/
COPY configs /build/configs
COPY model_cards /build/model_cards
COPY src /build/src
RUN pip install --no-cache-dir "/build[video]" && useradd --create-home vos

USER vos
WORKDIR /work
ENTRYPOINT ["vos-zoo"]
CMD ["--help"]
