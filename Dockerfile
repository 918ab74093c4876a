# docker build --tag dig .
# docker run --rm --gpus all --shm-size 8g --volume "$PWD/data:/dig/data" --volume "$PWD/experiment:/dig/experiment" \
#     --volume "$PWD/pretrained:/dig/pretrained" dig python train_trm.py --name voc --exp dig_eccv24
FROM python:3.11-slim

WORKDIR /dig
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1

# First, so that a change of the code does not install everything anew.
COPY requirements.txt requirements-photos.txt ./
ARG TORCH_INDEX=https://pypi.org/simple
RUN pip install --extra-index-url "$TORCH_INDEX" --requirement requirements.txt --requirement requirements-photos.txt

COPY . .
CMD ["python", "train_trm.py", "--help"]
