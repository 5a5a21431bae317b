# The agent in a container: the keeper is pid 1, the root file system may be read-only, nothing runs as root.
# deploy/README.md says how to run it.

# Any image with the same Python and glibc 2.34 or later will do, for instance a site's own.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY core core
COPY server server
COPY client client
# pip compiles what it installs: at run time nobody can, or need, write bytecode. For the shim, in C, a slim image has
# no compiler: pip fetches Zig's for the build, and drops it.
RUN python -m venv /opt/farspawn \
 && /opt/farspawn/bin/python -m pip install --no-cache-dir --disable-pip-version-check -c constraints.txt .

FROM ${BASE}
COPY --from=build /opt/farspawn /opt/farspawn
COPY deploy/healthcheck.py /opt/farspawn/healthcheck.py
# A number, so that an orchestrator that demands a non-root user can see that it is one. OpenShift replaces it by one
# without a name, in root's group. The directory is for the volume: a new named volume takes over its owner and mode.
RUN install -d -m 0770 -o 0 -g 0 /var/lib/farspawn
USER 10001:0
ENV PATH=/opt/farspawn/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    FARSPAWN_STATE=/var/lib/farspawn/agent
# Database, logs, lock and socket. The agent makes its own directory in it: mounted volumes are often open to a group,
# and the agent insists on 0700. The CLI in the container finds the socket there by FARSPAWN_STATE.
VOLUME /var/lib/farspawn
WORKDIR /
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python", "/opt/farspawn/healthcheck.py"]
# The exec form: farspawnd checks its settings and then executes the keeper in its own place, so the keeper is pid 1.
# It reaps orphans and takes SIGTERM as the order to stop all tasks by their plans: no init is needed before it.
ENTRYPOINT ["farspawnd"]
