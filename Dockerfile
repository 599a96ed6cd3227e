# The project with exactly the packages of requirements.lock. `docker build -t understudy .`, then
# `docker run --rm understudy` answers the question for params.yaml as it was when the image was built.
FROM python:3.11.14-slim-bookworm

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 understudy \
    && install --directory --owner understudy --group understudy /home/understudy/project

# By number, so that an orchestrator can see that it is not root.
USER 1000
WORKDIR /home/understudy/project

# The environment first: it changes only with the lock. The Makefile checks every hash (--require-hashes).
COPY --chown=understudy:understudy requirements.lock Makefile ./
RUN make .venv/.installed && rm -rf /home/understudy/.cache

# DVC wants a git repository; the history itself stays outside, and with it whatever .git/config holds.
COPY --chown=understudy:understudy . .
RUN git init --quiet

CMD ["make", "repro"]
